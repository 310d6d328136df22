"""What Redis answers instead of doing what it was asked: what an operator does about it, and what passes.

A command that was refused may have company that was not: the caller is in doubt, and recovers.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from sinks.ports import Doubt

_ONE_SERVER = "it is one node of a cluster: point POINTS_REDIS_URL at a server that holds all keys"
ADVICE = {
    "OOM": "it is full: raise its maxmemory, or give it a larger machine",
    "MISCONF": "it cannot write to its disk: its log says why; free some space",
    "NOREPLICAS": "too few of its replicas are connected: start them, or lower min-replicas-to-write",
    "LOADING": "it reads its file after a start: wait",
    "BUSY": "somebody else's script holds it up: SCRIPT KILL ends that",
    "READONLY": "it is a replica: point POINTS_REDIS_URL at the primary",
    "MASTERDOWN": "it is a replica without its primary: point POINTS_REDIS_URL at the primary",
    "EXECABORT": "it refused a part of a transaction: its log says why",
    "CLUSTERDOWN": "its cluster does not serve all slots: CLUSTER INFO says why",
    "TRYAGAIN": "its cluster moves slots: wait",
    "MOVED": _ONE_SERVER,
    "ASK": _ONE_SERVER,
}
LOGIN_ADVICE = (
    "correct user and password, in POINTS_REDIS_URL or in Redis; with the embedded stack `points down` and"
    " `points up` set them"
)
_CODE = re.compile(rf"({'|'.join(ADVICE)})\b")
_LOGIN = re.compile(r"WRONGPASS|NOAUTH")
_FORBIDDEN = re.compile(r"NOPERM|ERR unknown command")


class Refused(Doubt):
    """Redis is there, and does not do it. `code` is the first word of its answer, one of `ADVICE`."""

    def __init__(self, code: str, said: str) -> None:
        super().__init__(f"Redis refuses ({code}): {ADVICE[code]}; it said: {said}")
        self.code = code


class Forbidden(Exception):
    """Redis does not let this user run a command that the store needs; its text is Redis's own."""


class WrongLogin(Exception):
    """Redis does not know this user with this password, or wants one; its text is Redis's own."""


@contextmanager
def told_as_doubt() -> Iterator[None]:
    """Turns replies that never came into `Doubt`, and what passes into `Refused`; other errors stay."""
    try:
        yield
    except (RedisError, OSError) as error:
        meant = meaning(error)
        if meant is error:
            raise
        raise meant from error


def meaning(error: RedisError | OSError) -> Exception:
    """`Refused`, `WrongLogin`, `Forbidden` or `Doubt`; the error itself if it is none of these."""
    said, code = str(error), _status_code(error)
    answer = f"{code} {said}" if code else said
    if found := _CODE.match(answer):
        return Refused(found[1], said)
    if _LOGIN.match(answer):
        return WrongLogin(said.rstrip("."))
    if isinstance(error, ResponseError) and _FORBIDDEN.match(answer):
        return Forbidden(said)
    if isinstance(error, RedisConnectionError | RedisTimeoutError | OSError):
        return Doubt(f"Redis: {said}")
    return error


def _status_code(error: Exception) -> str | None:
    """The first word of Redis's answer, which the client cuts off; one to AUTH comes wrapped once more."""
    inner = error.args[0] if error.args and isinstance(error.args[0], RedisError) else error
    return getattr(inner, "status_code", None)
