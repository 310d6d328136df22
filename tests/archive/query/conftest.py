"""An archive with 101 rows of a shard of its own, asked through each endpoint that there is."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlencode

import pytest

from sinks.clickhouse.client import chdb_folder
from sinks.clickhouse.read_only import ReadOnlyArchive
from sinks.clickhouse.run import NOTHING, LedgerBlock, Run
from tests.archive.query.serving import SERVER, Endpoint, on_server, serving


@pytest.fixture(scope="package")
def rows(chains, new_shard) -> Run:
    """Genesis and two blocks of 50 rows, an hour apart, from 2024-09-07 00:00 UTC."""
    shard = new_shard()
    blocks = chains.chain(shard, [(50, 3_600_000)] * 2)
    return Run(shard, tuple(LedgerBlock(block, block.meta.seq) for block in blocks))


@pytest.fixture(scope="package", params=["embedded", "server"] if SERVER else ["embedded"])
def endpoint(request, rows, chdb, chdb_dsn) -> Iterator[Endpoint]:
    """Where `rows` can be asked for."""
    if request.param == "server":
        with on_server(SERVER, rows) as endpoint:
            yield endpoint
    else:
        chdb.append(rows, NOTHING)
        with serving(ReadOnlyArchive(chdb_folder(chdb_dsn))) as endpoint:
            yield endpoint


class Reply:
    """An answer that was read."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def text(self) -> str:
        return self.body.decode()


@pytest.fixture
def ask(endpoint) -> Callable[..., Reply]:
    """Sends one request: `body` makes it a POST, the keywords stand in the URL."""
    basic = b64encode(f"{endpoint.user}:{endpoint.password}".encode()).decode()

    def send(body: str | bytes | None = None, headers: dict | None = None, method: str = "", **url) -> Reply:
        connection = HTTPConnection(endpoint.host, endpoint.port, timeout=30)
        data = body.encode() if isinstance(body, str) else body
        method = method or ("GET" if body is None else "POST")
        url = {"database": endpoint.database, **url}
        query = urlencode({name: value for name, value in url.items() if value is not None})
        sent = {"Authorization": f"Basic {basic}", **(headers or {})}
        sent = {name: value for name, value in sent.items() if value is not None}
        connection.request(method, f"/?{query}", data, sent)
        try:
            return Reply(connection.getresponse())
        finally:
            connection.close()

    return send
