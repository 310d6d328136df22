"""The server process behind a connection: what it says of itself, and its append-only file before a commit.

An append-only file that ends inside a command of a transaction, as after a power cut, is cut back by Redis
6.2 and 7.0 to the command before: an open MULTI stays at its end. All looks right, until the next start runs
the open half together with the EXEC of whoever committed next. (Valkey's pull request 4342 mends it there.)
A rewrite replaces the file by what the server has in memory. So no connection writes before its server
process has rewritten its file, whoever asked for that, on every release: nobody has to know which is mended.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from redis.exceptions import ResponseError

from sinks.ports import Doubt
from sinks.redis_errors import Forbidden

log = structlog.get_logger()
Ask = Callable[..., Awaitable[Any]]  # sends one command to one server process, and returns its reply
POLL_S, POLL_MAX_S = 0.01, 1.0  # an empty Redis takes 10 ms, one of 5 GB a minute


def parse_info(text: bytes | str) -> dict[str, str]:
    """INFO's fields by name."""
    text = text.decode() if isinstance(text, bytes) else text
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in lines if colon}


async def rewrite_before_first_write(ask: Ask) -> None:
    """Returns once this server process has rewritten its append-only file, or has none.

    Raises `Doubt` if it could not, `Forbidden` if this user may not have it done.
    """
    asked, delay_s = False, POLL_S
    while True:
        info = parse_info(await ask("INFO"))
        if info["aof_enabled"] == "0" or _was_rewritten(info):
            return
        if "1" not in (info["aof_rewrite_in_progress"], info["aof_rewrite_scheduled"]):
            if asked:
                raise Doubt("Redis could not rewrite its append-only file: its log says why")
            await _begin(ask)
            asked = True
        await asyncio.sleep(delay_s)
        delay_s = min(2 * delay_s, POLL_MAX_S)


def _was_rewritten(info: dict[str, str]) -> bool:
    """Whether the last rewrite since the start of this process succeeded; before the first the time is -1."""
    return int(info["aof_last_rewrite_time_sec"]) >= 0 and info["aof_last_bgrewrite_status"] == "ok"


async def _begin(ask: Ask) -> None:
    log.info("Redis rewrites its append-only file before the first commit")
    try:
        await ask("BGREWRITEAOF")
    except ResponseError as error:
        if error.status_code == "NOPERM" or "unknown command" in str(error):
            raise Forbidden(str(error)) from error
        log.info(
            "no rewrite was begun", error=str(error)
        )  # another worker was faster, or it cannot: INFO tells
