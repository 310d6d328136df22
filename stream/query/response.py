"""An answer of the query endpoint, as ClickHouse's HTTP interface words it."""

import json
import re
import socket
from collections.abc import Callable
from typing import Any

import cramjam
from aiohttp import web

from sinks.clickhouse.errors import QueryRefused
from sinks.clickhouse.read_only import Answer
from stream.query.native_compression import in_blocks
from stream.query.request import QueryRequest

# As in ClickHouse, which takes 500 for the rest; but for 201 and 202: 429 tells clients to come later.
_STATUS = {
    **dict.fromkeys(
        (6, 8, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 72, 117, 167, 168, 321, 376, 427, 441), 400
    ),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 81, 115), 404),
    48: 501,  # NOT_IMPLEMENTED
    159: 408,  # TIMEOUT_EXCEEDED
    209: 408,  # SOCKET_TIMEOUT
    210: 503,  # NETWORK_ERROR: the engine is being started
    194: 401,  # REQUIRED_PASSWORD
    201: 429,  # QUOTA_EXCEEDED
    202: 429,  # TOO_MANY_SIMULTANEOUS_QUERIES
    223: 413,  # QUERY_IS_TOO_LARGE
    497: 403,  # ACCESS_DENIED
    516: 403,  # AUTHENTICATION_FAILED
}
_COMPRESS: dict[str, Callable[[bytes], Any]] = {  # the cheapest first
    "lz4": cramjam.lz4.compress,
    "zstd": lambda body: cramjam.zstd.compress(body, level=1),
    "gzip": lambda body: cramjam.gzip.compress(body, level=3),
    "deflate": lambda body: cramjam.zlib.compress(body, level=3),
}
SERVER = {"X-ClickHouse-Server-Display-Name": socket.gethostname()}


def answered(answer: Answer, query_id: str, encoding: str, asked: QueryRequest) -> web.Response:
    """What a client gets. `encoding` is one of `encoding_of`. Takes up to a second for 64 MiB."""
    headers = {
        **SERVER,
        "Content-Type": answer.content_type,
        "X-ClickHouse-Query-Id": query_id,
        "X-ClickHouse-Format": answer.format,
        "X-ClickHouse-Timezone": answer.timezone,
        "X-ClickHouse-Summary": _counters(
            answer, result_rows=answer.result_rows, result_bytes=len(answer.body)
        ),
    }
    if asked.progress:
        headers["X-ClickHouse-Progress"] = _counters(answer)
    body = in_blocks(answer.body) if asked.in_blocks else answer.body
    if encoding:
        headers["Content-Encoding"] = encoding
        body = bytes(_COMPRESS[encoding](body))
    return web.Response(body=body, headers=headers)


def encoding_of(accept_encoding: str) -> str:
    """How to compress for a client that sends this header; '' for not at all."""
    accepted = re.findall(r"([a-z0-9]+)\s*(?:;\s*q=([0-9.]+))?", accept_encoding.lower())
    wanted = {name for name, weight in accepted if not weight or float(weight) > 0}
    return next((name for name in _COMPRESS if name in wanted), "")


def refused(error: QueryRefused, query_id: str, blocks: bool) -> web.Response:
    """ClickHouse's error: its code in a header, its message as the body, in blocks or plain."""
    headers = {**SERVER, "X-ClickHouse-Exception-Code": str(error.code)}
    if query_id:
        headers["X-ClickHouse-Query-Id"] = query_id
    status = _STATUS.get(error.code, 500)
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
    headers["Content-Type"] = "text/plain; charset=UTF-8"
    # A header's bytes that are no UTF-8 may have come as far as the message.
    body = f"{error.message}\n".encode(errors="replace")
    return web.Response(status=status, body=in_blocks(body) if blocks else body, headers=headers)


def _counters(answer: Answer, **more: int) -> str:
    """The counters that chDB keeps; numbers are texts, as in ClickHouse. 0 rows to read means unknown."""
    counters = {
        "read_rows": answer.read_rows,
        "read_bytes": answer.read_bytes,
        "written_rows": 0,
        "written_bytes": 0,
        "total_rows_to_read": 0,
        **more,
        "elapsed_ns": round(answer.elapsed_s * 1e9),
    }
    return json.dumps({name: str(value) for name, value in counters.items()}, separators=(",", ":"))
