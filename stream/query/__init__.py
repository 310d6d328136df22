"""ClickHouse's HTTP interface over the embedded archive, which has none: reading only. Imports the floor."""
