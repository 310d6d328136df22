"""A connection of one shard alone: what WATCH has seen on it, EXEC on it answers for.

A client that opens a lost connection again by itself would send the EXEC over one on which nothing is
watched, and move a shard on which another worker has decided meanwhile (tests/redis/test_watch_model.py). So
this one is opened once: whatever fails, or is cancelled half way, closes it for good.
"""

import asyncio
import math
from typing import Any, Self

import hiredis
import redis.asyncio as aioredis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from sinks.redis_errors import told_as_doubt
from sinks.redis_server import parse_info, rewrite_before_first_write

ANSWER_TIMEOUT_S = 30.0


def connect(url: str) -> aioredis.Redis:
    """A client that never repeats a command by itself: a missing reply is settled by reading the head."""
    client = aioredis.Redis.from_url(
        url,
        socket_timeout=ANSWER_TIMEOUT_S,
        socket_connect_timeout=5,
        retry=Retry(NoBackoff(), 0),
        max_connections=256,
        driver_info=None,  # CLIENT SETINFO is none of a worker's rights
    )
    client.set_response_callback("INFO", parse_info)  # type: ignore[arg-type]  # called with the reply alone
    return client


class OwnConnection:
    """One connection to one server process, until something fails.

    `watched`: the hash of the head that is watched on it, and was read after the WATCH; None where none is.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._may_write = False
        self.watched: bytes | None = None

    @classmethod
    async def open(cls, client: aioredis.Redis) -> Self:
        """Logs in with the settings of `client`. Raises `Doubt` if nobody answers."""
        connection = client.connection_pool.make_connection()
        with told_as_doubt():
            await connection.connect()
        return cls(connection)

    @property
    def is_open(self) -> bool:
        return self._connection.is_connected

    async def exchange(self, commands: list[tuple]) -> list[Any]:
        """The replies to commands that are sent in one write; what Redis refuses is a `ResponseError` in its
        place. Raises `Doubt` if a reply does not come: which of the commands were run is not known then.

        Packed by hiredis: redis-py's own packing costs 0.6 us an argument, and a time-out of its own for each
        reply 3 us.
        """
        packed = [hiredis.pack_command(command) for command in commands]
        with told_as_doubt():
            if not self.is_open:  # what is sent to a closed one opens it again
                raise RedisConnectionError("the shard's connection is closed")
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await self._connection.send_packed_command(packed, check_health=False)
                    return [await self._reply() for _ in commands]
            except BaseException as error:
                await self.close()  # late replies must not meet another command
                if isinstance(error, TimeoutError):
                    raise RedisTimeoutError(f"no answer within {ANSWER_TIMEOUT_S:.0f} s") from error
                raise

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response(timeout=math.inf)
        except ResponseError as refusal:
            return refusal

    async def begin_to_write(self) -> None:
        """Once a connection: see `rewrite_before_first_write`. A WATCH stays in force meanwhile."""
        if not self._may_write:
            with told_as_doubt():
                await rewrite_before_first_write(self._ask)
            self._may_write = True

    async def _ask(self, *command: str) -> Any:
        [reply] = await self.exchange([command])
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    async def close(self) -> None:
        """For good."""
        self.watched = None
        await self._connection.disconnect(nowait=True)
