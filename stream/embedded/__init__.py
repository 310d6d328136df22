"""Kafka and Redis on loopback, in one data folder, for demos, tests and one machine. Imports the floor."""
