"""The archive worker's HTTP endpoint: the reading part of ClickHouse's HTTP interface, where chDB has none.

`/` answers queries (query_request.py: what may be sent; query_response.py: what comes back), `/ping` tells
that it is there. On loopback only, for who knows the token.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from sinks.clickhouse.errors import QueryRefused
from sinks.clickhouse.nameable import OPERATOR
from sinks.clickhouse.read_only import Answer, Question, ReadOnlyArchive
from stream.query.request import QUERY_BYTES_MAX, check_password, query_id_of, read_request
from stream.query.response import SERVER, answered, encoding_of, refused

log = structlog.get_logger()
WAITING_MAX = 16  # at 5 s a query: beyond this a client would wait longer than clients do
_METHODS = "GET, HEAD, POST, OPTIONS"


class QueryEndpoint:
    """Serves queries at `url` to who knows `token`. `thread` is the one in which the archive is used.

    At most one query at a time stands in the thread's queue, so an insert never waits for more than one.
    """

    def __init__(self, url: str, token: str, archive: ReadOnlyArchive, thread: ThreadPoolExecutor) -> None:
        self._address = urlsplit(url)
        self._token, self._archive, self._thread = token.encode(), archive, thread
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Begins to listen. Raises OSError if the port is taken."""
        app = web.Application(client_max_size=QUERY_BYTES_MAX)
        app.router.add_get("/ping", _ping)
        app.router.add_route("*", "/", self._serve)
        app.router.add_route("*", "/{path:.*}", _not_found)
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._address.hostname, self._address.port).start()
        log.info("answering queries", port=self._address.port)

    async def stop(self) -> None:
        """Stops listening and closes the archive's handle."""
        if self._runner:
            await self._runner.cleanup()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._archive.close)

    async def _serve(self, request: web.Request) -> web.Response:
        if request.method not in _METHODS.split(", "):
            return web.Response(status=405, headers={**SERVER, "Allow": _METHODS})
        if request.method == "OPTIONS":  # and no word of other origins: a browser lets none of them read
            return web.Response(status=204, headers={**SERVER, "Allow": _METHODS})
        query_id = ""
        try:
            check_password(request, self._token)
            query_id = query_id_of(request)
            return await self._answer(request, query_id)
        except QueryRefused as error:
            return refused(error, query_id)

    async def _answer(self, request: web.Request, query_id: str) -> web.Response:
        asked = await read_request(request, OPERATOR)
        if not asked.question.sql:
            return web.Response(text="Ok.\n", headers=SERVER)
        answer = await self._ask(asked.question)
        encoding = encoding_of(request.headers.get("Accept-Encoding", "")) if asked.compressed else ""
        # In a thread of the loop's own: compressing 64 MiB must not hold up who waits for a small answer.
        return await asyncio.to_thread(answered, answer, query_id, encoding, asked.progress)

    async def _ask(self, question: Question) -> Answer:
        if self._waiting >= WAITING_MAX:
            raise QueryRefused.of(202, "TOO_MANY_SIMULTANEOUS_QUERIES", "Too many simultaneous queries")
        self._waiting += 1
        try:
            async with self._turn:
                loop = asyncio.get_running_loop()
                # Shielded: a client that leaves must not let the next query in while its own still runs.
                return await asyncio.shield(
                    loop.run_in_executor(self._thread, self._archive.answer, question)
                )
        finally:
            self._waiting -= 1


async def _ping(request: web.Request) -> web.Response:
    return web.Response(text="Ok.\n", headers=SERVER)


async def _not_found(request: web.Request) -> web.Response:
    text = "There is no such handle\n\nUse / for queries and /ping for health checks.\n"
    return web.Response(status=404, text=text, headers=SERVER)
