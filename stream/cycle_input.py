"""From fetches to cycles: a shard's pending records of all topics, merged and cut.

Pure: no I/O, no clock. A cycle takes records in the order (broker timestamp, topic, offset) and ends
- at the limits of rows and bytes,
- before the first record of another Asia/Shanghai day, so that one cycle has one day,
- after a command, because what it changes is in force from the next row on.
"""

from typing import NamedTuple

import numpy as np

from schemas.block import Span
from schemas.limits import BUFFERED_BYTES_MAX, BUFFERED_ROWS_MAX, CYCLE_BYTES_MAX, CYCLE_ROWS_MAX
from schemas.report import DAY_MS, SHANGHAI_OFFSET_MS
from schemas.state import Head
from schemas.topics import COMMANDS
from stream.transport import Batch


class Cycle(NamedTuple):
    """What one block will decide: parallel lists, one entry a record, in the shard's order."""

    shard: int
    sources: list[Span]
    source: list[int]  # index into sources
    offset: list[int]
    broker_ms: list[int]
    time_ms: list[int]  # the shard's time at each record
    value: list[bytes]


class _Pending:
    """The records of one topic that wait for their cycle, as columns, in offset order."""

    def __init__(self, next_offset: int) -> None:
        self.first = next_offset  # where the next cycle's span begins
        self.next = next_offset  # what a following batch must continue
        self.offset: list[int] = []
        self.broker_ms: list[int] = []
        self.value: list[bytes] = []

    def add(self, batch: Batch) -> None:
        floor_ms = self.broker_ms[-1] if self.broker_ms else 0
        self.offset += [r.offset for r in batch.records]
        # A broker whose clock stepped back must not reorder a topic: its timestamps never fall.
        times = np.fromiter((r.timestamp for r in batch.records), np.int64, len(batch.records))
        self.broker_ms += np.maximum(np.maximum.accumulate(times), floor_ms).tolist()
        self.value += [r.value or b"" for r in batch.records]
        self.next = batch.next

    def drop(self, rows: int) -> Span:
        first, self.first = self.first, self.offset[rows - 1] + 1 if rows < len(self.offset) else self.next
        del self.offset[:rows], self.broker_ms[:rows], self.value[:rows]
        return Span("", first, self.first)


class Buffer:
    """All that was fetched for one shard and not yet decided."""

    def __init__(self, shard: int, positions: dict[str, int]) -> None:
        self.shard = shard
        self._pending = {topic: _Pending(offset) for topic, offset in positions.items()}
        self.nbytes = 0  # of the values that wait

    def add(self, batch: Batch) -> bool:
        """Takes a batch; False if it does not continue what is here (a delivery was lost)."""
        pending = self._pending.get(batch.topic)
        if pending is None or batch.first != pending.next:
            return False
        before = len(pending.value)
        pending.add(batch)
        self.nbytes += sum(map(len, pending.value[before:]))
        return True

    def rows(self) -> int:
        """Records waiting."""
        return sum(len(p.offset) for p in self._pending.values())

    def full(self) -> bool:
        """Whether the sources should wait until a cycle was taken."""
        return self.nbytes >= BUFFERED_BYTES_MAX or self.rows() >= BUFFERED_ROWS_MAX

    def next_of(self, topic: str) -> int | None:
        """The offset that the next batch of a topic must begin with."""
        pending = self._pending.get(topic)
        return pending and pending.next

    def take(self, head: Head) -> Cycle:
        """Removes and returns the next cycle; there must be at least one row waiting."""
        waiting = sorted((topic, p) for topic, p in self._pending.items() if p.offset)
        order = _merged([p for _, p in waiting])
        times = np.array([waiting[s][1].broker_ms[i] for s, i in order], np.int64) + head.clock_offset_ms
        times = np.maximum(np.maximum.accumulate(times), head.time_ms)
        order = order[: _cut(waiting, order, times)]
        source = [s for s, _ in order]
        cycle = Cycle(
            self.shard,
            [],
            source,
            [waiting[s][1].offset[i] for s, i in order],
            [waiting[s][1].broker_ms[i] for s, i in order],
            times[: len(order)].tolist(),
            [waiting[s][1].value[i] for s, i in order],
        )
        self.nbytes -= sum(map(len, cycle.value))
        taken = np.bincount(source, minlength=len(waiting)).tolist()
        for (topic, pending), rows in zip(waiting, taken, strict=True):
            span = pending.drop(rows) if rows else Span("", pending.first, pending.first)
            cycle.sources.append(Span(topic, span.first, span.next))
        return cycle


def _merged(waiting: list[_Pending]) -> list[tuple[int, int]]:
    """(source, index) of the waiting records by (timestamp, topic, offset), at most a cycle's rows."""
    if len(waiting) == 1:
        return [(0, i) for i in range(min(len(waiting[0].offset), CYCLE_ROWS_MAX))]
    keys = [(ms, s, i) for s, p in enumerate(waiting) for i, ms in enumerate(p.broker_ms[:CYCLE_ROWS_MAX])]
    return [(s, i) for _, s, i in sorted(keys)[:CYCLE_ROWS_MAX]]


def _cut(waiting: list[tuple[str, _Pending]], order: list[tuple[int, int]], times: np.ndarray) -> int:
    """How many of the merged rows make this cycle; at least one."""
    sizes = np.cumsum([len(waiting[s][1].value[i]) for s, i in order])
    rows = max(1, int(np.searchsorted(sizes, CYCLE_BYTES_MAX, side="right")))
    days = (times + SHANGHAI_OFFSET_MS) // DAY_MS
    rows = min(rows, int(np.searchsorted(days, days[0], side="right")))
    for s, (topic, _) in enumerate(waiting):
        if topic == COMMANDS:
            rows = min(rows, next((k + 1 for k, (source, _) in enumerate(order) if source == s), rows))
    return rows
