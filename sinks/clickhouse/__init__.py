"""The archive: every ledger row once in ClickHouse, or in chDB, which is ClickHouse within the process."""
