"""A Redis that forgets must not be decided by: a forgotten id would be credited again, for good.

So a worker looks at each recovery, and once a second while it reads, whether Redis evicts keys. One that does
is refused before the first decision; one that is changed while the worker runs, at most a second later.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from schemas.state import Change, Head
from sinks.ports import Snapshot
from sinks.redis_errors import LOGIN_ADVICE, Forbidden, WrongLogin
from sinks.redis_store import RedisStore
from stream.engine.redis_health import eviction
from stream.errors import OperatorError

CHECK_S = 1.0  # one INFO a worker, not one a shard


class GuardedStore:
    """`Store` over a `RedisStore` that keeps what it is given. Raises OperatorError where it does not."""

    def __init__(self, store: RedisStore, now_s: Callable[[], float] = time.monotonic) -> None:
        self._store, self._now_s = store, now_s
        self._checked_s = float("-inf")

    async def load_head(self, shard: int) -> Head | None:
        with _told():
            await self._check()
            return await self._store.load_head(shard)

    async def read(self, shard: int, uids: list[str], lookups: dict[int, list[int]]) -> Snapshot:
        with _told():
            snapshot = await self._store.read(shard, uids, lookups)
            if self._now_s() - self._checked_s >= CHECK_S:
                await self._check()  # after the read: what had been evicted before it is seen
            return snapshot

    async def commit(self, change: Change) -> None:
        with _told():
            await self._store.commit(change)

    async def reset(self, shard: int) -> int:
        with _told():
            return await self._store.reset(shard)

    async def close(self) -> None:
        await self._store.close()

    async def _check(self) -> None:
        self._checked_s = self._now_s()
        if fault := eviction(await self._store.info()):
            raise fault


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except WrongLogin as refusal:
        raise OperatorError(
            f"Redis does not let the worker in; it said: {refusal}.",
            f"{LOGIN_ADVICE}; then start it again.",
        ) from refusal
    except Forbidden as refusal:
        raise OperatorError(
            f"Redis does not let the worker do its work; it said: {refusal}.",
            "give its user the rights of docs/runbook.md, rights in Redis. Where BGREWRITEAOF cannot be had, "
            "turn appendonly off, or have somebody who may run it after each start of Redis.",
        ) from refusal
