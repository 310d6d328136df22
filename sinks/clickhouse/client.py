"""Clients by DSN: `clickhouse://user:password@host:port/database`, or `chdb://<folder>` in this process."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ProgrammingError
from clickhouse_migrations.connection import ClickhouseConnectConnection
from clickhouse_migrations.migration import MigrationStorage
from clickhouse_migrations.migrator import Migrator

from sinks.clickhouse.errors import ArchiveDamaged
from sinks.clickhouse.views import make_views

CHDB_DATABASE = "points"
CONNECT_TIMEOUT_S = 10
ANSWER_TIMEOUT_S = 120  # an insert of 50,000 rows takes 0.1 s; a busy server may need long, not for ever
MIGRATIONS = Path(__file__).parent / "migrations"


def chdb_folder(dsn: str) -> Path | None:
    """The folder of a `chdb://` DSN; None for a server's."""
    parts = urlsplit(dsn)
    return Path(unquote(parts.netloc + parts.path)) if parts.scheme == "chdb" else None


def open_client(dsn: str) -> Client:
    """A client whose default database is the platform's.

    Raises `ArchiveDamaged` if another process holds the chDB folder, clickhouse-connect's errors otherwise.
    """
    folder = chdb_folder(dsn)
    if folder is None:
        return clickhouse_connect.get_client(
            dsn=dsn,
            autogenerate_session_id=False,  # a session allows one call at a time and outlives a lost reply
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=ANSWER_TIMEOUT_S,
        )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with clickhouse_connect.get_client(interface="chdb", path=str(folder)) as client:
            client.command(f"CREATE DATABASE IF NOT EXISTS {CHDB_DATABASE}")
            # chDB makes it again at each start, over the files of the machine; a client must find one.
            client.command("DROP DATABASE IF EXISTS default")
            client.command("CREATE DATABASE default ENGINE = Memory")
            return clickhouse_connect.get_client(interface="chdb", path=str(folder), database=CHDB_DATABASE)
    except ProgrammingError as error:
        raise ArchiveDamaged(
            f"chDB cannot open {folder}: {error}.",
            "stop the other archive worker (a chDB folder belongs to one process); if there is none, move "
            "the folder away and start again: the archive is then written anew from the ledger.",
        ) from error


def migrate(client: Client) -> None:
    """Brings the tables and views up to date. Migrations can be repeated: two workers may start at once."""
    migrator = Migrator(ClickhouseConnectConnection(client))
    migrator.init_schema()
    migrator.apply_migration(MigrationStorage(MIGRATIONS).migrations(), multi_statement=True)
    make_views(client)
