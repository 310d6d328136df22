"""The embedded stack: Kafka and Redis on loopback, in one data folder, for demos, tests and one machine."""
