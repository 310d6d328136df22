"""The archive worker's HTTP endpoint: the reading part of ClickHouse's HTTP interface, where chDB has none.

`/` answers queries (request.py: what may be sent; response.py: what comes back), `/ping` tells that it is
there. On loopback only, for the operator and for analysts (analysts.py). Each query leaves one line in the
log: who asked, what kind of question, and how long it took; never its text or a value.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from sinks.clickhouse.errors import QueryEnded, QueryRefused
from sinks.clickhouse.read_only import Answer, Question
from stream.connections import UNSENT_BYTES_MAX, Connections
from stream.query.analysts import Asker, Passwords
from stream.query.request import QUERY_BYTES_MAX, credentials_of, query_id_of, read_request, wants_blocks
from stream.query.response import SERVER, answered, encoding_of, refused
from stream.query.standing import Standing

log = structlog.get_logger()
WAITING_MAX = 16  # at 5 s a query: beyond this a client would wait longer than clients do
CHECKED_AT_ONCE = 8  # passwords that wait to be compared, which takes 40 ms each
BODY_TIMEOUT_S = 10.0
_METHODS = "GET, HEAD, POST, OPTIONS"
_TOO_MANY = 202, "TOO_MANY_SIMULTANEOUS_QUERIES", "Too many simultaneous queries"


class Reader(Protocol):
    """What answers questions: `EngineReader`, or `ReadOnlyArchive` in tests."""

    def answer(self, question: Question) -> Answer:
        """Raises `QueryRefused`, or `QueryEnded`."""

    def close(self) -> None:
        """Nothing more will be asked."""


class QueryEndpoint:
    """Serves queries at `url` to whom `passwords` know. `thread` is the one in which the archive is used.

    At most one query at a time stands in the thread's queue, so an insert never waits for more than one.
    """

    def __init__(self, url: str, passwords: Passwords, reader: Reader, thread: ThreadPoolExecutor) -> None:
        self._address = urlsplit(url)
        self._passwords, self._reader, self._thread = passwords, reader, thread
        self._standing = Standing()
        self._turn, self._check = asyncio.Lock(), asyncio.Lock()
        self._waiting = self._checking = 0
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._connections: Connections | None = None

    async def start(self) -> None:
        """Begins to listen. Raises OSError if the port is taken."""
        app = web.Application(client_max_size=QUERY_BYTES_MAX)
        app.router.add_get("/ping", _ping)
        app.router.add_route("*", "/", self._serve)
        app.router.add_route("*", "/{path:.*}", _not_found)
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False)
        await self._runner.setup()
        assert self._runner.server, "a runner that is set up has a server"
        self._connections = Connections(self._runner.server)
        self._connections.start()
        self._listener = await asyncio.get_running_loop().create_server(
            self._connections, self._address.hostname, self._address.port or 0, backlog=128
        )
        log.info("answering queries", port=self._address.port)

    async def stop(self) -> None:
        """Stops listening and closes the reader."""
        if self._listener:
            self._listener.close()
        if self._connections:
            self._connections.stop()
        if self._runner:
            await self._runner.cleanup()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._reader.close)

    async def _serve(self, request: web.Request) -> web.Response:
        transport, connections = request.transport, self._connections
        assert connections, "it listens"
        connections.take(transport)
        try:
            return await self._answer_or_refuse(request)
        finally:
            connections.give_back(transport)

    async def _answer_or_refuse(self, request: web.Request) -> web.Response:
        if request.method not in _METHODS.split(", "):
            return web.Response(status=405, headers={**SERVER, "Allow": _METHODS})
        if request.method == "OPTIONS":  # and no word of other origins: a browser lets none of them read
            return web.Response(status=204, headers={**SERVER, "Allow": _METHODS})
        query_id, asker, in_blocks, began_s = "", None, False, time.perf_counter()
        try:
            asker = await self._asker(request)
            in_blocks = wants_blocks(request.query)  # of errors, too, as in ClickHouse: clickhouse-jdbc 0.8
            query_id = query_id_of(request)
            return await self._answer(request, query_id, asker)
        except QueryRefused as error:
            if isinstance(error, QueryEnded) and asker:
                self._standing.ended(asker.name)
            _log(asker, began_s, error.verb, error.tables, refused=error.code)
            return refused(error, query_id, in_blocks)

    async def _asker(self, request: web.Request) -> Asker:
        """Who asks. Raises `QueryRefused` if nobody knows him, or he may not ask now."""
        name, password = credentials_of(request)
        asker = self._passwords.known(name, password)
        if asker is None:
            if self._checking >= CHECKED_AT_ONCE:
                raise QueryRefused.of(*_TOO_MANY)
            self._checking += 1
            try:
                async with self._check:
                    asker = await asyncio.to_thread(self._passwords.check, name, password)
            finally:
                self._checking -= 1
        if asker is None:
            message = "Authentication failed: password is incorrect, or there is no user with such name"
            raise QueryRefused.of(516, "AUTHENTICATION_FAILED", message)
        if seconds := self._standing.refused_for_s(asker.name):
            message = f"Your queries had to be ended twice; you may ask again in {seconds:.0f} s"
            raise QueryRefused.of(201, "QUOTA_EXCEEDED", message)
        return asker

    async def _answer(self, request: web.Request, query_id: str, asker: Asker) -> web.Response:
        began_s = time.perf_counter()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                asked = await read_request(request, asker.sees)
        except TimeoutError as error:
            raise QueryRefused.of(209, "SOCKET_TIMEOUT", "The query did not come in time") from error
        if not asked.question.sql:
            return web.Response(text="Ok.\n", headers=SERVER)
        answer = await self._ask(asked.question)
        _log(asker, began_s, answer.verb, answer.tables, rows=answer.result_rows)
        encoding = encoding_of(request.headers.get("Accept-Encoding", "")) if asked.compressed else ""
        # In a thread of the loop's own: compressing 64 MiB must not hold up who waits for a small answer.
        return await asyncio.to_thread(answered, answer, query_id, encoding, asked)

    async def _ask(self, question: Question) -> Answer:
        assert self._connections, "it listens"
        if self._waiting >= WAITING_MAX or self._connections.unsent_bytes() > UNSENT_BYTES_MAX:
            raise QueryRefused.of(*_TOO_MANY)
        self._waiting += 1
        try:
            async with self._turn:
                loop = asyncio.get_running_loop()
                # Shielded: a client that leaves must not let the next query in while its own still runs.
                return await asyncio.shield(loop.run_in_executor(self._thread, self._reader.answer, question))
        finally:
            self._waiting -= 1


def _log(asker: Asker | None, began_s: float, verb: str, tables: tuple[str, ...], **more: int) -> None:
    name = asker.name if asker else "nobody"
    duration_ms = round((time.perf_counter() - began_s) * 1000)
    log.info("query", asker=name, verb=verb, named=" ".join(tables), duration_ms=duration_ms, **more)


async def _ping(request: web.Request) -> web.Response:
    return web.Response(text="Ok.\n", headers=SERVER)


async def _not_found(request: web.Request) -> web.Response:
    text = "There is no such handle\n\nUse / for queries and /ping for health checks.\n"
    return web.Response(status=404, text=text, headers=SERVER)
