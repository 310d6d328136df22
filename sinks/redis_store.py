"""The projection in Redis: a shard moves from the head that was read to the next one, or not at all.

`read` ends with a WATCH on the head, and looks at it once more behind that; `commit` is MULTI ... EXEC on the
very connection. So what is decided in between stands on a state that nobody has touched, or the EXEC does
nothing. Both are one write and one round trip. Commands: sinks/redis_commands.py.
Everything here is of one projection; those of other releases stand beside it, under other keys.
"""

import asyncio
import secrets
from collections import Counter, defaultdict
from typing import Any, NoReturn

import msgspec
import redis.asyncio as aioredis
from redis.exceptions import ExecAbortError, ResponseError

from schemas.kinds.app import App
from schemas.state import ZERO_HASH, Change, Head, Person, decode_person
from sinks import redis_commands as send
from sinks.fingerprint import FINGERPRINT
from sinks.ports import Doubt, Snapshot
from sinks.redis_connection import OwnConnection
from sinks.redis_errors import meaning, told_as_doubt
from sinks.redis_keys import PROJECTIONS, Keys, projection_of

_PAGE_KEYS = 5_000
_SAMPLE_KEYS = 50_000
_decode_head = msgspec.msgpack.Decoder(Head).decode
_decode_apps = msgspec.msgpack.Decoder(dict[str, App]).decode


class RedisStore:
    """`Store` over one Redis; safe against other workers that still believe they own the shard."""

    def __init__(self, client: aioredis.Redis, projection: str = FINGERPRINT) -> None:
        self._redis: Any = client  # for what needs no WATCH; its types know not that replies are bytes
        self._projection = projection
        self._own: dict[int, OwnConnection] = {}
        self._in_turn: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._broken: set[int] = set()  # shards that a failed commit may have left half written

    async def info(self) -> dict[str, str]:
        """What the server says of itself."""
        with told_as_doubt():
            return await self._redis.info()

    async def load_head(self, shard: int) -> Head | None:
        with told_as_doubt():
            torn, head, apps = await self._redis.hmget(self._keys(shard).head, "torn", "head", "apps")
        if not head or torn or shard in self._broken:
            return None
        return msgspec.structs.replace(_decode_head(head), apps=_decode_apps(apps) if apps else {})

    async def read(self, shard: int, uids: list[str], lookups: dict[int, list[int]]) -> Snapshot:
        commands, asked = send.read_state(self._keys(shard), uids, lookups)
        async with self._in_turn[shard]:
            own = await self._opened(shard)
            own.watched = None
            replies = await own.exchange(
                [send.UNWATCH, *send.in_transaction(commands), *send.watch_head(self._keys(shard))]
            )
            _raise_first(replies)
            found, again = replies[-3], replies[-1]
            if errors := _errors(found):
                await self._break(shard, own, errors[0])
            if found[0] != again or again[1]:
                raise Doubt("another worker moves or rebuilds this shard, or was interrupted at it")
            head_hash = own.watched = again[0] or ZERO_HASH
        values = found[1] if uids else []
        persons = {uid: decode_person(v) for uid, v in zip(uids, values, strict=True) if v is not None}
        seen: set[int] = set()
        for mine, flags in zip(asked, found[2 if uids else 1 :], strict=True):
            if 1 in flags:
                seen.update(m for m, flag in zip(mine, flags, strict=True) if flag)
        return Snapshot(head_hash, persons, seen)

    async def commit(self, change: Change) -> None:
        shard = change.shard
        async with self._in_turn[shard]:
            own = self._own.get(shard)
            if own is None or own.watched != change.prev:
                raise Doubt("the head that this begins at is not watched on the shard's connection")
            await own.begin_to_write()
            await self._execute(shard, own, send.write_change(self._keys(shard), change))

    async def reset(self, shard: int) -> int:
        """Deletes under a token, page by page; of two workers at once only the later one deletes."""
        keys, token, gone = self._keys(shard), secrets.token_hex(8), 0
        async with self._in_turn[shard]:
            own = await self._opened(shard)
            await own.begin_to_write()
            _raise_first(await own.exchange([send.tear(keys, token)]))
            cursor = None
            while cursor != 0:
                page = send.find_keys(keys, cursor or 0, _PAGE_KEYS)
                replies = await own.exchange([send.UNWATCH, *send.watch_head(keys), page])
                _raise_first(replies)
                (_, torn), (cursor, found) = replies[2], replies[3]
                if torn != token.encode():
                    raise Doubt("another worker rebuilds this shard")
                cursor = int(cursor)
                doomed = found if cursor else [*found, keys.head]
                if doomed:
                    await self._execute(shard, own, [("UNLINK", *doomed)])
                    gone += len(found)
            self._broken.discard(shard)
        return gone

    async def persons(self, shard: int) -> dict[str, Person]:
        """Every person of a shard; for audits and the demo's reconciliation, not for the cycle."""
        prefix = self._keys(shard).person_prefix
        keys = [key async for key in self._redis.scan_iter(match=prefix + "*", count=_PAGE_KEYS)]
        out: dict[str, Person] = {}
        for start in range(0, len(keys), _PAGE_KEYS):
            part = keys[start : start + _PAGE_KEYS]
            for key, value in zip(part, await self._redis.mget(part), strict=True):
                if value is not None:
                    out[key.decode()[len(prefix) :]] = decode_person(value)
        return out

    async def projections(self) -> set[str]:
        """The names of all projections on this server, each release's. Goes through all keys, in pages."""
        with told_as_doubt():
            keys = self._redis.scan_iter(match=PROJECTIONS, count=_PAGE_KEYS)
            return {name async for key in keys if (name := projection_of(key))}

    async def shares(self) -> dict[str, float]:
        """Each projection's part of all keys, '' for what is none: of a sample, as SCAN goes in no order."""
        counted: Counter[str] = Counter()
        cursor, more = 0, True
        with told_as_doubt():
            while more and counted.total() < _SAMPLE_KEYS:
                cursor, keys = await self._redis.scan(cursor, count=_PAGE_KEYS)
                counted.update(map(projection_of, keys))
                more = cursor != 0
        return {name: count / counted.total() for name, count in counted.items()}

    async def close(self) -> None:
        """Closes the connections."""
        for own in self._own.values():
            await own.close()
        await self._redis.aclose()

    def _keys(self, shard: int) -> Keys:
        return Keys(shard, self._projection)

    async def _opened(self, shard: int) -> OwnConnection:
        """The shard's connection; a new one, on which nothing is watched, after the one before was lost."""
        own = self._own.get(shard)
        if own is None or not own.is_open:
            own = self._own[shard] = await OwnConnection.open(self._redis)
        return own

    async def _execute(self, shard: int, own: OwnConnection, commands: list[send.Command]) -> None:
        """MULTI ... EXEC; raises `Doubt` if what is watched was touched, or not all of it was done."""
        own.watched = None
        replies = await own.exchange(send.in_transaction(commands))
        executed = replies[-1]
        if executed is None:
            raise Doubt("the head was touched since it was read")
        if isinstance(executed, ExecAbortError):  # refused as it was queued: nothing was done
            _raise_first(replies)
        if errors := _errors(replies) or _errors(executed):
            await self._break(shard, own, errors[0])

    async def _break(self, shard: int, own: OwnConnection, error: ResponseError) -> NoReturn:
        """A command of a transaction failed, and Redis undoes no other: nobody may take this shard for whole.

        Should the mark not come through, this process knows, and rebuilds the shard in its next recovery.
        """
        self._broken.add(shard)
        await own.exchange([send.tear(self._keys(shard), "broken")])
        meant = meaning(error)
        if meant is error:
            meant = Doubt(f"a command failed inside a transaction: {error}; the shard is to be rebuilt")
        raise meant from error


def _errors(replies: list[Any]) -> list[ResponseError]:
    return [reply for reply in replies if isinstance(reply, ResponseError)]


def _raise_first(replies: list[Any]) -> None:
    """Raises what the first reply that is an error means, if one is: later ones may only follow from it."""
    if errors := _errors(replies):
        with told_as_doubt():
            raise errors[0]
