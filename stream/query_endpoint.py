"""The archive worker's HTTP endpoint: the reading part of ClickHouse's HTTP interface, where chDB has none.

`GET` or `POST /?query=...&default_format=...&param_<name>=...`, the body being the query's second half, and
`GET /ping`. The token may come as ClickHouse's clients send a password: `Authorization: Bearer` or `Basic`,
`X-ClickHouse-Key`, `?password=`. On loopback only.
"""

import asyncio
import base64
import binascii
import hmac
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from schemas.limits import KIB
from sinks.clickhouse.errors import QueryRefused
from sinks.clickhouse.read_only import Answer, ReadOnlyArchive

log = structlog.get_logger()
QUERY_BYTES_MAX = 256 * KIB  # ClickHouse's own max_query_size
WAITING_MAX = 16  # at 5 s a query: beyond this a client would wait longer than clients do
_STATUS = {
    60: 404,  # UNKNOWN_TABLE
    81: 404,  # UNKNOWN_DATABASE
    159: 408,  # TIMEOUT_EXCEEDED
    164: 403,  # READONLY
    202: 429,  # TOO_MANY_SIMULTANEOUS_QUERIES
    497: 403,  # ACCESS_DENIED
    516: 401,  # AUTHENTICATION_FAILED
}
_CONTENT_TYPES = {"JSON": "application/json", "CSV": "text/csv", "TabSeparated": "text/tab-separated-values"}


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
        app.router.add_get("/ping", self._ping)
        app.router.add_route("*", "/", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._address.hostname, self._address.port).start()
        log.info("answering queries", port=self._address.port)

    async def stop(self) -> None:
        """Stops listening and closes the archive's handle."""
        if self._runner:
            await self._runner.cleanup()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._archive.close)

    async def _ping(self, request: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _answer(self, request: web.Request) -> web.Response:
        if not self._knows_token(request):
            return _error(QueryRefused(516, "Code: 516. DB::Exception: wrong token. (AUTHENTICATION_FAILED)"))
        if request.method not in ("GET", "POST"):
            return web.Response(status=405, headers={"Allow": "GET, POST"})
        sql = "\n".join(filter(None, (request.query.get("query"), await request.text())))
        if not sql:
            return web.Response(text="Ok.\n")
        parameters = {
            name.removeprefix("param_"): value
            for name, value in request.query.items()
            if name.startswith("param_")
        }
        try:
            answer = await self._query(sql, request.query.get("default_format", "TabSeparated"), parameters)
        except QueryRefused as refused:
            return _error(refused)
        headers = {"X-ClickHouse-Format": answer.format}
        content_type = _CONTENT_TYPES.get(answer.format, "application/octet-stream")
        return web.Response(body=answer.body, headers=headers, content_type=content_type)

    async def _query(self, sql: str, default_format: str, parameters: dict[str, str]) -> Answer:
        if self._waiting >= WAITING_MAX:
            message = (
                "Code: 202. DB::Exception: Too many simultaneous queries. (TOO_MANY_SIMULTANEOUS_QUERIES)"
            )
            raise QueryRefused(202, message)
        self._waiting += 1
        try:
            async with self._turn:
                loop = asyncio.get_running_loop()
                call = (self._archive.query, sql, default_format, parameters)
                # Shielded: a client that leaves must not let the next query in while its own still runs.
                return await asyncio.shield(loop.run_in_executor(self._thread, *call))
        finally:
            self._waiting -= 1

    def _knows_token(self, request: web.Request) -> bool:
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        given = [request.headers.get("X-ClickHouse-Key"), request.query.get("password")]
        if scheme.lower() == "bearer":
            given.append(credentials)
        elif scheme.lower() == "basic":
            given.append(_basic_password(credentials))
        return any(hmac.compare_digest(token.encode(), self._token) for token in given if token)


def _basic_password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _error(refused: QueryRefused) -> web.Response:
    return web.Response(
        status=_STATUS.get(refused.code, 400),
        text=refused.message + "\n",
        headers={"X-ClickHouse-Exception-Code": str(refused.code)},
    )
