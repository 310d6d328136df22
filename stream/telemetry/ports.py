"""The ports of an intake worker, watched: the steps of a cycle are timed where they pass through them.

The cycle itself knows nothing of metrics. It begins with `take`; it reads; what comes between a read and an
append is `decide`; it appends and applies; what is left is `wait`, for the publication before.
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from schemas.block import Block
from schemas.ledger_record import LedgerRecord
from schemas.outcome import Message
from schemas.state import Change, Head
from sinks.ports import Doubt, Ledger, Publisher, Snapshot, Store
from sinks.redis_errors import Refused
from stream.telemetry.intake import IntakeMetrics


@contextmanager
def _asking(metrics: IntakeMetrics, service: str, shard: int) -> Iterator[None]:
    """Remembers who did not answer. A doubt without a cause is an answer: another worker was faster."""
    try:
        yield
    except Doubt as doubt:
        metrics.answered(service, shard, doubt.__cause__ is None)
        if isinstance(doubt, Refused):
            metrics.refused(shard, doubt.code)
        raise
    metrics.answered(service, shard, True)


class WatchedStore:
    """`Store` that tells `metrics` what becomes of Redis."""

    def __init__(self, store: Store, metrics: IntakeMetrics) -> None:
        self._store, self._metrics = store, metrics

    async def load_head(self, shard: int) -> Head | None:
        with _asking(self._metrics, "redis", shard):
            head = await self._store.load_head(shard)
        self._metrics.saw_head(shard, head)
        return head

    async def read(self, shard: int, uids: list[str], lookups: dict[int, list[int]]) -> Snapshot:
        self._metrics.enter(shard, "read")
        with _asking(self._metrics, "redis", shard):
            snapshot = await self._store.read(shard, uids, lookups)
        self._metrics.enter(shard, "decide")
        return snapshot

    async def commit(self, change: Change) -> None:
        with _asking(self._metrics, "redis", change.shard):
            await self._store.commit(change)
        if change.head.hash != change.prev:  # else only `published_to` was told
            self._metrics.applied(change)
        self._metrics.enter(change.shard, "wait")

    async def reset(self, shard: int) -> int:
        self._metrics.rebuilds.inc()
        with _asking(self._metrics, "redis", shard):
            return await self._store.reset(shard)

    async def close(self) -> None:
        await self._store.close()


class WatchedLedger:
    """`Ledger` that tells `metrics` what is appended."""

    def __init__(self, ledger: Ledger, metrics: IntakeMetrics) -> None:
        self._ledger, self._metrics = ledger, metrics

    async def append(self, block: Block) -> int:
        shard = block.meta.shard
        self._metrics.appending(block)
        self._metrics.enter(shard, "append")
        with _asking(self._metrics, "kafka", shard):
            offset = await self._ledger.append(block)
        self._metrics.enter(shard, "apply")
        return offset

    async def end(self, shard: int) -> int:
        with _asking(self._metrics, "kafka", shard):
            return await self._ledger.end(shard)

    def read(self, shard: int, start: int, end: int) -> AsyncIterator[tuple[int, LedgerRecord]]:
        return self._ledger.read(shard, start, end)

    async def renew(self, shard: int) -> None:
        await self._ledger.renew(shard)

    async def close(self) -> None:
        await self._ledger.close()


class WatchedPublisher:
    """`Publisher` that tells `metrics` what is published."""

    def __init__(self, publisher: Publisher, metrics: IntakeMetrics) -> None:
        self._publisher, self._metrics = publisher, metrics

    async def start(self) -> None:
        await self._publisher.start()

    async def publish(self, shard: int, messages: dict[str, list[Message]]) -> set[str]:
        began_s = time.perf_counter()
        with _asking(self._metrics, "kafka", shard):
            missing = await self._publisher.publish(shard, messages)
        self._metrics.published(shard, time.perf_counter() - began_s)
        return missing

    async def close(self) -> None:
        await self._publisher.close()
