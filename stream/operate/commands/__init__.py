"""The commands of `points`, one file per group; stream/cli.py puts them together. Imports every room."""
