"""The projection in Redis. Keys of shard p carry the tag {p}, so that a shard is one slot of a cluster:

h:{p}               hash: hash, torn, and the head's other fields as one MessagePack value
p:{p}:<uid>         MessagePack of schemas.state.Person
d:{p}:<day>:<b>     set of 64-bit dedupe members of generation <day>, bucket b (an intset: 8 bytes each)
"""

import secrets
from pathlib import Path
from typing import Any

import hiredis
import msgspec
import redis.asyncio as aioredis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from schemas.state import ZERO_HASH, Change, Head, Person, decode_person, encode_person
from sinks.ports import Doubt, Snapshot
from sinks.redis_errors import told_as_doubt
from sinks.redis_server import Ask, parse_info, rewrite_before_first_write

# 16.4 million reports a day over 64 shards leave 512,000 members in a generation of a shard: 8,000 in a
# bucket, just below the size (set-max-intset-entries 8192) at which Redis gives up the compact form.
BUCKETS = 64
_DROP_BATCH = 5_000
_COMMIT = (Path(__file__).parent / "commit.lua").read_text("utf-8")
_DROP = """
if redis.call('HGET', KEYS[1], 'torn') ~= ARGV[1] then return 0 end
for from = 2, #ARGV, 7000 do redis.call('UNLINK', unpack(ARGV, from, math.min(from + 6999, #ARGV))) end
return 1
"""
_encode_head = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(Head).decode


def connect(url: str) -> aioredis.Redis:
    """A client that never repeats a command by itself: a missing reply is settled by reading the head."""
    return aioredis.Redis.from_url(
        url,
        socket_timeout=30,
        socket_connect_timeout=5,
        retry=Retry(NoBackoff(), 0),
        max_connections=256,
        driver_info=None,  # CLIENT SETINFO is none of a worker's rights
        redis_connect_func=_on_connect,
    )


async def _on_connect(connection: AbstractConnection) -> None:
    connection.may_write = False  # another server process may answer than the one before
    await connection.on_connect()


class RedisStore:
    """`Store` over one Redis; safe against other workers that still believe they own the shard."""

    def __init__(self, client: aioredis.Redis) -> None:
        self._redis = client

    async def info(self) -> dict[str, str]:
        """What the server says of itself."""
        [text] = await self._execute([("INFO",)])
        return parse_info(text)

    async def load_head(self, shard: int) -> Head | None:
        with told_as_doubt():
            torn, head = await self._redis.hmget(_head_key(shard), "torn", "head")
        return _decode_head(head) if head and not torn else None

    async def read(self, shard: int, uids: list[str], lookups: dict[int, list[int]]) -> Snapshot:
        prefix = f"p:{{{shard}}}:"
        head = ("HMGET", _head_key(shard), "hash", "torn")
        commands = [head]
        if uids:
            commands.append(("MGET", *[prefix + uid for uid in uids]))
        asked = []
        for day, members in lookups.items():
            for bucket, mine in _bucketed(members):
                commands.append(("SMISMEMBER", _dedupe_key(shard, day, bucket), *mine))
                asked.append(mine)
        # Read again at the end: another worker's `reset` may delete between two commands of this pipeline.
        replies = await self._execute([*commands, head])
        head_hash, torn = replies[0]
        if torn or replies.pop() != replies[0]:
            raise Doubt("another worker rebuilds this shard, or was interrupted at it")
        values = replies[1] if uids else []
        persons = {uid: decode_person(v) for uid, v in zip(uids, values, strict=True) if v is not None}
        seen: set[int] = set()
        for mine, flags in zip(asked, replies[2 if uids else 1 :], strict=True):
            if 1 in flags:
                seen.update(m for m, flag in zip(mine, flags, strict=True) if flag)
        return Snapshot(head_hash or ZERO_HASH, persons, seen)

    async def commit(self, change: Change) -> None:
        shard = change.shard
        args: list = [change.prev, change.head.hash, 2, "head", _encode_head(change.head)]
        args.append(2 * len(change.persons))
        prefix = f"p:{{{shard}}}:"
        for uid, person in change.persons.items():
            args += (prefix + uid, encode_person(person))
        dropped = [_dedupe_key(shard, day, b) for day in change.retired_days for b in range(BUCKETS)]
        args += [len(dropped), *dropped]
        for day, members in change.members.items():
            for bucket, mine in _bucketed(members):
                args += (_dedupe_key(shard, day, bucket), len(mine), *mine)
        # EVAL, not EVALSHA: 1.5 KiB more a cycle, and no other path when Redis has forgotten its scripts.
        [moved] = await self._execute([("EVAL", _COMMIT, 1, _head_key(shard), *args)], writes=True)
        if moved != 1:
            raise Doubt("torn" if moved == -1 else "Redis has another head")

    async def _execute(self, commands: list[tuple], writes: bool = False) -> list:
        """Sends commands in one write, packed by hiredis: redis-py's own packing costs 0.6 us an argument.

        A command that Redis refuses is a `Doubt` if that passes, else an error; a connection that fails is a
        `Doubt`. In each case it is closed: the next one asks again who the primary is.
        """
        packed = [hiredis.pack_command(command) for command in commands]
        pool = self._redis.connection_pool
        with told_as_doubt():
            connection = await pool.get_connection()
            try:
                if writes and not connection.may_write:
                    await rewrite_before_first_write(_asking(connection))
                    connection.may_write = True
                await connection.send_packed_command(packed, check_health=False)
                replies = [await connection.read_response() for _ in commands]
            except BaseException:
                await connection.disconnect(nowait=True)  # late replies must not meet another command
                raise
            finally:
                await pool.release(connection)
        return replies

    async def reset(self, shard: int) -> None:
        """Deletes under a token, batch by batch; of two workers at once only the later one deletes."""
        head, token = _head_key(shard), secrets.token_hex(8)
        await self._execute([("HSET", head, "torn", token)], writes=True)
        batch: list[bytes] = []
        with told_as_doubt():
            for kind in ("p", "d"):
                async for key in self._redis.scan_iter(match=f"{kind}:{{{shard}}}:*", count=_DROP_BATCH):
                    batch.append(key)
                    if len(batch) >= _DROP_BATCH:
                        await self._drop_under(token, head, batch)
                        batch = []
        await self._drop_under(token, head, [*batch, head.encode()])

    async def _drop_under(self, token: str, head: str, keys: list[bytes]) -> None:
        if await self._execute([("EVAL", _DROP, 1, head, token, *keys)], writes=True) != [1]:
            raise Doubt("another worker rebuilds this shard")

    async def persons(self, shard: int) -> dict[str, Person]:
        """Every person of a shard; for audits and the demo's reconciliation, not for the cycle."""
        prefix = f"p:{{{shard}}}:"
        keys = [key async for key in self._redis.scan_iter(match=prefix + "*", count=_DROP_BATCH)]
        out: dict[str, Person] = {}
        for start in range(0, len(keys), _DROP_BATCH):
            part = keys[start : start + _DROP_BATCH]
            for key, value in zip(part, await self._redis.mget(part), strict=True):
                if value is not None:
                    out[key.decode()[len(prefix) :]] = decode_person(value)
        return out

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()


def _asking(connection: AbstractConnection) -> Ask:
    async def ask(*command: str) -> Any:
        await connection.send_command(*command, check_health=False)
        return await connection.read_response()

    return ask


def _head_key(shard: int) -> str:
    return f"h:{{{shard}}}"


def _dedupe_key(shard: int, day: int, bucket: int) -> str:
    return f"d:{{{shard}}}:{day}:{bucket}"


def _bucketed(members: list[int]) -> list[tuple[int, list[int]]]:
    buckets: list[list[int]] = [[] for _ in range(BUCKETS)]
    for member in members:
        buckets[member & (BUCKETS - 1)].append(member)
    return [(b, mine) for b, mine in enumerate(buckets) if mine]
