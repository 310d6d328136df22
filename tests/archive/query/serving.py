"""Endpoints to ask over HTTP: the embedded one, on a thread with a loop of its own, and a server by its DSN.

The server's part runs where POINTS_TEST_CLICKHOUSE_DSN names one (clickhouse://user:password@host:port); a
database is created there, and dropped.
"""

import asyncio
import os
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from socket import socket
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

import clickhouse_connect

from sinks.clickhouse.archive import ClickHouseArchive
from sinks.clickhouse.client import CHDB_DATABASE
from sinks.clickhouse.run import NOTHING, Run
from stream.query.analysts import Passwords
from stream.query.endpoint import QueryEndpoint, Reader

SERVER = os.environ.get("POINTS_TEST_CLICKHOUSE_DSN")
TOKEN = "sesame"


class Endpoint(NamedTuple):
    """Where and as whom to ask. `database` holds the archive's tables."""

    host: str
    port: int
    user: str
    password: str
    database: str

    @property
    def url(self) -> str:
        """Without a path."""
        return f"http://{self.host}:{self.port}"


@contextmanager
def serving(reader: Reader, home: Path = Path("/nonexistent")) -> Iterator[Endpoint]:
    """Runs the embedded endpoint over `reader`, with the analysts of the data folder `home`; closes both."""
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    loop = asyncio.new_event_loop()
    runner = threading.Thread(target=loop.run_forever)
    runner.start()
    with ThreadPoolExecutor(1) as thread:
        endpoint = QueryEndpoint(f"http://127.0.0.1:{port}", Passwords(home, TOKEN), reader, thread)
        try:
            asyncio.run_coroutine_threadsafe(endpoint.start(), loop).result(30)
            yield Endpoint("127.0.0.1", port, "operator", TOKEN, CHDB_DATABASE)
        finally:
            asyncio.run_coroutine_threadsafe(endpoint.stop(), loop).result(30)
            loop.call_soon_threadsafe(loop.stop)
            runner.join()
            loop.close()


@contextmanager
def on_server(dsn: str, run: Run) -> Iterator[Endpoint]:
    """A database of its own on a server, with `run` in the archive's tables; dropped afterwards."""
    parts = urlsplit(dsn)
    database = f"points_test_{uuid.uuid4().hex}"
    with clickhouse_connect.get_client(dsn=dsn) as client:
        client.command(f"CREATE DATABASE {database}")
        try:
            archive = ClickHouseArchive(parts._replace(path="/" + quote(database)).geturl())
            archive.append(run, NOTHING)
            archive.close()
            user, password = unquote(parts.username or "default"), unquote(parts.password or "")
            yield Endpoint(parts.hostname, parts.port or 8123, user, password, database)
        finally:
            client.command(f"DROP DATABASE {database} SYNC")
