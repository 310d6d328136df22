"""The pure core: what a cycle takes, decides and does to the state. No I/O, no clock. Imports batches."""
