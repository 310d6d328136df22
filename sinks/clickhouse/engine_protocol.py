"""What the archive worker and its engine's process say to each other: one request, one reply, as msgpack.

Not pickled: who asks in SQL must not get further than the engine's process, whatever he finds in it.
"""

from multiprocessing.connection import Connection

import msgspec

from sinks.clickhouse.read_only import Answer, Question
from sinks.clickhouse.run import Insert, Mark


class HighWater(msgspec.Struct, tag=True):
    """`Archive.high_water`; the reply is a `Reached`."""

    shard: int
    verified: Mark


class Append(msgspec.Struct, tag=True):
    """`Archive.append`; the reply is a `Reached`."""

    insert: Insert
    mark: Mark


class Ask(msgspec.Struct, tag=True):
    """A query; the reply is an `Answered`."""

    question: Question


class Ready(msgspec.Struct, tag=True):
    """The first thing that the engine says."""


class Reached(msgspec.Struct, tag=True):
    """How far a shard is archived."""

    mark: Mark


class Answered(msgspec.Struct, tag=True):
    """A query's answer."""

    answer: Answer


class Unavailable(msgspec.Struct, tag=True):
    """`ArchiveUnavailable`."""

    message: str


class Damaged(msgspec.Struct, tag=True):
    """`ArchiveDamaged`."""

    message: str
    todo: str


class Refused(msgspec.Struct, tag=True):
    """`QueryRefused`."""

    code: int
    message: str
    verb: str
    tables: tuple[str, ...]


class Failed(msgspec.Struct, tag=True):
    """An error that nobody foresaw, with its traceback."""

    message: str


Request = HighWater | Append | Ask
Reply = Ready | Reached | Answered | Unavailable | Damaged | Refused | Failed
_ENCODER = msgspec.msgpack.Encoder()
_REQUESTS, _REPLIES = msgspec.msgpack.Decoder(Request), msgspec.msgpack.Decoder(Reply)


def send(connection: Connection, message: Request | Reply) -> None:
    """Raises OSError if nobody is there to read it."""
    connection.send_bytes(_ENCODER.encode(message))


def request(connection: Connection) -> Request:
    """The next request. Raises EOFError or OSError once the worker is gone."""
    return _REQUESTS.decode(connection.recv_bytes())


def reply(connection: Connection) -> Reply:
    """The next reply. Raises EOFError or OSError once the engine is gone."""
    return _REPLIES.decode(connection.recv_bytes())
