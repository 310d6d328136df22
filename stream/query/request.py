"""A request to the query endpoint, as ClickHouse's HTTP interface is spoken to, read into a `Question`."""

import base64
import re
import uuid
from collections.abc import Mapping
from typing import NamedTuple

import cramjam
from aiohttp import web

from schemas.limits import KIB
from sinks.clickhouse.errors import QueryRefused
from sinks.clickhouse.read_only import DEFAULT_FORMAT, Question
from sinks.clickhouse.sql_guard import check_beginning

QUERY_BYTES_MAX = 256 * KIB  # ClickHouse's own max_query_size; of a body, before and after it is decompressed
_DECOMPRESS = {"gzip": cramjam.gzip, "deflate": cramjam.zlib, "lz4": cramjam.lz4, "zstd": cramjam.zstd}
_BAD_ARGUMENTS, _NOT_IMPLEMENTED, _TOO_LARGE = 36, 48, 223
# Arguments of the URL that are no settings of the query: read below, or without any effect here.
_READ_HERE = {
    "query", "database", "default_format", "query_id", "client_protocol_version", "compress", "decompress",
    "enable_http_compression", "send_progress_in_http_headers", "user", "password",
}  # fmt: skip
_WITHOUT_EFFECT = {
    # A session holds what SET and temporary tables leave in it, and there is neither.
    "session_id", "session_timeout", "session_check", "close_session",
    # Every answer is complete before its first byte is sent.
    "wait_end_of_query", "buffer_size", "http_response_buffer_size", "http_headers_progress_interval_ms",
    "cancel_http_readonly_queries_on_client_close", "http_zlib_compression_level", "quota_key", "stacktrace",
    "add_http_cors_header", "network_compression_method",
}  # fmt: skip


class QueryRequest(NamedTuple):
    """What a client asks, and how it wants to be answered."""

    question: Question
    compressed: bool
    in_blocks: bool  # in ClickHouse's own compression (native_compression.py)
    progress: bool


def query_id_of(request: web.Request) -> str:
    """The client's own, or a new one. Raises `QueryRefused` if it cannot stand in a header."""
    query_id = request.query.get("query_id") or str(uuid.uuid4())
    if not re.fullmatch(r"[\x20-\x7e]{1,200}", query_id):
        raise QueryRefused.of(_BAD_ARGUMENTS, "BAD_ARGUMENTS", "query_id must be printable ASCII")
    return query_id


async def read_request(request: web.Request, sees: str) -> QueryRequest:
    """The query of a GET, HEAD or POST by somebody who `sees` that much (nameable.py); its text may be empty.
    Raises `QueryRefused`."""
    given = dict(request.query)
    if _switched_on(given, "decompress"):
        message = "decompress=1 is not spoken here: use Content-Encoding"
        raise QueryRefused.of(_NOT_IMPLEMENTED, "NOT_IMPLEMENTED", message)
    form, body = await _body(request)
    given |= form
    question = Question(
        _sql(given.get("query", "").encode(), body),
        sees,
        given.get("default_format") or request.headers.get("X-ClickHouse-Format") or DEFAULT_FORMAT,
        {name.removeprefix("param_"): given[name] for name in given if name.startswith("param_")},
        {name: given[name] for name in given if not _is_no_setting(name)},
        given.get("database") or request.headers.get("X-ClickHouse-Database") or "",
        _number(given, "client_protocol_version"),
    )
    in_blocks = wants_blocks(given)
    asked_for = {"enable_http_compression": "0" if in_blocks else "1", **given}
    compressed = _switched_on(asked_for, "enable_http_compression")
    progress = _switched_on(given, "send_progress_in_http_headers")
    return QueryRequest(question, compressed, in_blocks, progress)


def wants_blocks(given: Mapping[str, str]) -> bool:
    """Whether ClickHouse's own compression is asked for. Raises `QueryRefused` if that is no number."""
    return _switched_on(given, "compress")


def credentials_of(request: web.Request) -> tuple[str, str]:
    """Name and password, in each way of ClickHouse's clients. Raises `QueryRefused` without a password."""
    headers, url = request.headers, request.query
    scheme, _, basic = headers.get("Authorization", "").partition(" ")
    given = [
        (headers.get("X-ClickHouse-User", ""), headers.get("X-ClickHouse-Key", "")),
        _basic(basic) if scheme.lower() == "basic" else ("", ""),
        (url.get("user", ""), url.get("password", "")),
    ]
    for name, password in given:
        if password:
            return name, password
    raise QueryRefused.of(194, "REQUIRED_PASSWORD", "Password required")


def _basic(credentials: str) -> tuple[str, str]:
    try:
        name, _, password = base64.b64decode(credentials).decode().partition(":")
    except ValueError:
        return "", "not readable"
    return name, password


def _sql(*parts: bytes) -> str:
    """The query's text. Of an INSERT the body goes on with data, which need not be text."""
    sql = b"\n".join(filter(None, parts))
    if sql:
        check_beginning(sql.decode(errors="replace"))
    try:
        return sql.decode()
    except UnicodeDecodeError as error:
        raise QueryRefused.of(_BAD_ARGUMENTS, "BAD_ARGUMENTS", "The query is not UTF-8") from error


def _is_no_setting(name: str) -> bool:
    return name.startswith("param_") or name in _READ_HERE or name in _WITHOUT_EFFECT


def _switched_on(given: Mapping[str, str], name: str) -> bool:
    return _number(given, name) != 0


def _number(given: Mapping[str, str], name: str) -> int:
    value = {"true": "1", "false": "0"}.get(given.get(name, "0"), given.get(name, "0"))
    if not re.fullmatch("[0-9]{1,9}", value, re.ASCII):
        raise QueryRefused.of(_BAD_ARGUMENTS, "BAD_ARGUMENTS", f"{name} is not a number")
    return int(value)


async def _body(request: web.Request) -> tuple[dict[str, str], bytes]:
    """The fields of a multipart form, and a body that is none."""
    try:
        if request.content_type == "multipart/form-data" and request.method == "POST":
            return {name: _field(name, value) for name, value in (await request.post()).items()}, b""
        return {}, _decompressed(await request.read(), request.headers.get("Content-Encoding", "").lower())
    except web.HTTPRequestEntityTooLarge as error:
        message = f"The query is longer than {QUERY_BYTES_MAX} bytes"
        raise QueryRefused.of(_TOO_LARGE, "QUERY_IS_TOO_LARGE", message) from error
    except (ValueError, LookupError, web.RequestPayloadError) as error:
        message = "The body is not what the request's headers say"
        raise QueryRefused.of(_BAD_ARGUMENTS, "BAD_ARGUMENTS", message) from error


def _decompressed(body: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding not in _DECOMPRESS:
        message = f"Content-Encoding is one of {', '.join(_DECOMPRESS)} here"
        raise QueryRefused.of(_NOT_IMPLEMENTED, "NOT_IMPLEMENTED", message)
    whole = bytearray(QUERY_BYTES_MAX)
    try:
        return bytes(whole[: _DECOMPRESS[encoding].decompress_into(body, whole)])
    except cramjam.DecompressionError as error:
        if "failed to write whole buffer" in str(error):
            message = f"The query is longer than {QUERY_BYTES_MAX} bytes once it is decompressed"
            raise QueryRefused.of(_TOO_LARGE, "QUERY_IS_TOO_LARGE", message) from error
        raise QueryRefused.of(_BAD_ARGUMENTS, "BAD_ARGUMENTS", f"The body is not {encoding}") from error


def _field(name: str, value: object) -> str:
    """The value of a form's field: clickhouse-connect sends long queries and parameters so."""
    if isinstance(value, str) and (name == "query" or name.startswith("param_")):
        return value
    message = "External tables and other fields of a form are not accepted here"
    raise QueryRefused.of(_NOT_IMPLEMENTED, "NOT_IMPLEMENTED", message)
