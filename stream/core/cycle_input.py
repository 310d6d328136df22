"""From fetches to cycles: the pending batches of a shard's sources, merged by fair time and cut.

Pure: no I/O, no clock.

**Fair time** orders the records of a shard. It is a record's broker time, as long as its source sends no more
than R records a second (`fair_rows_s`, and a second's worth at once); what goes beyond is put off to the
seconds that follow, R records to each. So sources below R are decided in the order of the broker's
timestamps, also after an outage of any length, and a flood waits behind everybody but itself. What a source
was given while nobody else waited is not held against it. Equal times: `commands` first, then by topic and
offset. What the platform itself says is never put off.

In the arithmetic of a leaky bucket: a source has *paid* up to some instant. A record begins at the later of
its broker time and that instant, and pays 1/R s from there. Its fair time is its beginning less the burst,
cut to the whole second, but never before its broker time. (Whole seconds, so that a large batch is unpacked
once for R rows, and not once for each, when the excess of several sources is merged.) All in microseconds; a
batch has one broker time, so nothing is unpacked for it.

While a record waits, each other source has at most R * (lag + 2 s) + 1 rows decided before it; `lag` is how
much later its fair time is than the beginning of the first of these rows: what is older goes first, at R rows
a second.

**No record overtakes one that is known to exist.** Where a source is not fetched up to its known end, nothing
is taken that would come after the earliest that its next record can be. So the order does not depend on which
fetch came first.

A cycle ends at the limits of rows and bytes (a sixteenth of the rows while a source that keeps up was heard
of in the last ten seconds), before the first record of another Asia/Shanghai day (one cycle has one day), and
after a command, because what it changes is in force from the next row on.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from schemas.block import Span
from schemas.limits import (
    BUFFERED_BYTES_MAX,
    BUFFERED_SOURCE_BYTES_MIN,
    CYCLE_BYTES_MAX,
    CYCLE_ROWS_MAX,
    SHORT_CYCLE_ROWS_MAX,
    UNPACKED_BYTES_MAX,
    UNPACKED_KEPT_BYTES_MAX,
)
from schemas.report import DAY_MS, SHANGHAI_OFFSET_MS
from schemas.state import Head, Source
from schemas.topics import COMMANDS
from stream.batches.fetch import Fetch
from stream.batches.reader import Unreadable
from stream.core.pending import Pending


class Cycle(NamedTuple):
    """What one block will decide: parallel lists, one entry a row, in the shard's order."""

    shard: int
    sources: list[Span]
    source: list[int]  # index into sources
    offset: list[int]
    last_offset: list[int]  # beyond `offset` where one row stands for a batch that cannot be read
    broker_ms: list[int]
    time_ms: list[int]  # the shard's time at each row
    value: list[bytes | Unreadable]


class Buffer:
    """All that was fetched for one shard and not yet decided.

    `sources`: where each continues; `ends`: up to which offset each is known to have records.
    """

    def __init__(
        self,
        shard: int,
        sources: dict[str, Source],
        fair_rows_s: int,
        ends: dict[str, int] | None = None,
    ) -> None:
        self.shard = shard
        step_us = max(1, 1_000_000 // fair_rows_s)  # rounded down: R rows a second are not beyond R
        # `commands` first, then by name: the order of equal times.
        names = sorted(sources, key=lambda topic: (topic != COMMANDS, topic))
        self._pending = {
            topic: Pending(
                topic, sources[topic], 0 if topic == COMMANDS else step_us, (ends or {}).get(topic, 0)
            )
            for topic in names
        }
        self._share_bytes = max(BUFFERED_SOURCE_BYTES_MIN, BUFFERED_BYTES_MAX // max(1, len(names)))

    @property
    def nbytes(self) -> int:
        """Bytes that wait, packed."""
        return sum(p.nbytes for p in self._pending.values())

    @property
    def sources(self) -> dict[str, tuple[str, int]]:
        """Where each source stands: its topic's id, and the offset with which the next cycle begins."""
        return {topic: (p.topic_id, p.first) for topic, p in self._pending.items()}

    def limit(self, topic: str, rows_max: int) -> None:
        """From now on at most so many rows a day are taken of a source; the rest waits."""
        if topic in self._pending:
            self._pending[topic].rows_max = rows_max

    def add(self, fetch: Fetch) -> bool:
        """Takes a fetch; False if it does not continue what is here (a delivery was lost)."""
        pending = self._pending.get(fetch.topic)
        if pending is None or fetch.first != pending.due:
            return False
        pending.add(fetch)
        return True

    def next_of(self, topic: str) -> int | None:
        """The offset that the next fetch of a topic must begin with; None if it is not read."""
        pending = self._pending.get(topic)
        return pending.due if pending else None

    def wants(self, topic: str, today: int) -> bool:
        """Whether more of a topic should be fetched: its share is not full, its quota not used up."""
        pending = self._pending.get(topic)
        return pending is not None and pending.nbytes < self._share_bytes and not pending.used_up(today)

    def used_up(self, today: int) -> list[str]:
        """The sources that are read no further on the day `today`."""
        return [topic for topic, p in self._pending.items() if p.used_up(today)]

    def owing(self, today: int) -> list[str]:
        """The sources of which records are known to exist, and none is in hand."""
        return [topic for topic, p in self._pending.items() if p.owes() and not p.used_up(today)]

    def forgive(self, topics: Iterable[str]) -> None:
        """Goes on without what these sources owe; what they send later is merged from there on."""
        for topic in topics:
            self._pending[topic].end = self._pending[topic].due

    def waiting(self, today: int) -> bool:
        """Whether `take` has something to choose from."""
        return any(p.batches and not p.used_up(today) for p in self._pending.values())

    def is_full(self, today: int) -> bool:
        """Whether nothing is gained by waiting for more: a cycle's rows or bytes are here, or a command."""
        open_now = [p for p in self._pending.values() if not p.used_up(today)]
        return (
            any(p.topic == COMMANDS and p.batches for p in open_now)
            or sum(p.rows_waiting() for p in open_now) >= SHORT_CYCLE_ROWS_MAX
            or sum(p.nbytes for p in open_now) >= CYCLE_BYTES_MAX
        )

    def take(self, head: Head, today: int) -> Cycle | None:
        """Removes and returns the next cycle; None while what is owed must come first.

        `today`: the Asia/Shanghai day of the worker's clock, for the quotas of rows.
        """
        sources = list(self._pending.values())
        for p in sources:
            p.begin_day(today)
        open_now = [(s, p) for s, p in enumerate(sources) if not p.used_up(today)]
        ready = min(((p.earliest_us(), s) for s, p in open_now if p.is_behind()), default=_NEVER)
        waiting = {s: p for s, p in open_now if p.batches}
        # Whoever keeps up will send again soon: a full cycle of somebody's excess would be what he waits for.
        latest_ms = head.time_ms - head.clock_offset_ms
        hurried = any(p.keeps_up(latest_ms) for p in sources if p.topic != COMMANDS)
        rows_max = min(SHORT_CYCLE_ROWS_MAX, CYCLE_ROWS_MAX) if hurried else CYCLE_ROWS_MAX
        rows = _gather(waiting, _order(waiting, ready, rows_max))
        if not rows.offset:
            return None
        times = np.array(rows.broker_ms, np.int64) + head.clock_offset_ms
        times = np.maximum(np.maximum.accumulate(times), head.time_ms)
        days = (times + SHANGHAI_OFFSET_MS) // DAY_MS
        size = int(np.searchsorted(days, days[0], side="right"))
        rows = rows.first(size)
        times_ms = times[:size].tolist()
        return self._remove(waiting, rows, times_ms, times_ms[-1] - head.clock_offset_ms, today)

    def _remove(
        self, waiting: dict[int, Pending], rows: "_Rows", times_ms: list[int], broker_ms: int, today: int
    ) -> Cycle:
        """The cycle of `rows`, which leave the buffer; `broker_ms`: the shard's time as the broker has it."""
        nexts = dict(zip(rows.source, [last + 1 for last in rows.last_offset], strict=True))
        before = {s: (waiting[s].first, waiting[s].paid_us) for s in sorted(nexts)}
        for s, following in nexts.items():
            waiting[s].remove(following)
        left = [p for p in self._pending.values() if p.waits(today)]
        for s, (_, paid_us) in before.items():
            if left in ([], [waiting[s]]):  # nobody else waits: it owes what it owed before, and no more
                waiting[s].paid_us = min(waiting[s].paid_us, max(paid_us, broker_ms * 1_000))
        kept_bytes = UNPACKED_KEPT_BYTES_MAX
        for p in self._pending.values():
            kept_bytes -= p.let_go(kept_bytes)
        index = {s: i for i, s in enumerate(before)}
        return Cycle(
            self.shard,
            [waiting[s].span(first) for s, (first, _) in before.items()],
            [index[s] for s in rows.source],
            rows.offset,
            rows.last_offset,
            rows.broker_ms,
            times_ms,
            rows.value,
        )


class _Rows(NamedTuple):
    """Rows of a cycle in the making; `source`: the source's rank."""

    source: list[int]
    offset: list[int]
    last_offset: list[int]
    broker_ms: list[int]
    value: list[bytes | Unreadable]

    def first(self, size: int) -> "_Rows":
        """The first rows."""
        return _Rows(
            self.source[:size],
            self.offset[:size],
            self.last_offset[:size],
            self.broker_ms[:size],
            self.value[:size],
        )


_NEVER = (np.iinfo(np.int64).max, 0)


def _order(
    waiting: dict[int, Pending], ready: tuple[int, int], rows_max: int
) -> list[tuple[int, int, int, int]]:
    """The next rows by fair time, at most `rows_max`, as runs (source, batch, row of the batch, rows).

    `ready`: the earliest fair time, and the rank of its source, that a record not fetched yet can have.
    """
    of_each, counts = [], []
    for s, p in waiting.items():
        times_us, batch, row = p.rows()
        count = np.searchsorted(times_us, ready[0], side="right" if s <= ready[1] else "left")
        of_each.append((times_us[:count], batch[:count], row[:count]))
        counts.append(count)
    if not sum(counts):
        return []
    times_us, batch, row = (np.concatenate(column) for column in zip(*of_each, strict=True))
    source = np.repeat(list(waiting), counts)
    # Equal times: in the order of sources, then of offsets.
    order = np.argsort(times_us, kind="stable")[:rows_max]
    source, batch, row = source[order], batch[order], row[order]
    breaks = np.flatnonzero((np.diff(source) != 0) | (np.diff(batch) != 0)) + 1
    edges = [0, *breaks.tolist(), len(order)]
    starts = np.array(edges[:-1])
    lengths = [end - start for start, end in pairwise(edges)]
    return list(
        zip(source[starts].tolist(), batch[starts].tolist(), row[starts].tolist(), lengths, strict=True)
    )


def _gather(waiting: dict[int, Pending], runs: list[tuple[int, int, int, int]]) -> _Rows:
    """Unpacks the runs in order, up to the limits of bytes, and up to the first command."""
    rows = _Rows([], [], [], [], [])
    size = unpacked = 0
    gone: set[tuple[int, int]] = set()  # batches that have their one row
    for s, b, at, count in runs:
        pending = waiting[s]
        if (s, b) in gone:
            continue
        if not pending.is_unpacked(b):
            if unpacked >= UNPACKED_BYTES_MAX:
                break
            unpacked += pending.unpack(b)
        batch, values = pending.batches[b], pending.values(b)
        taken: Sequence[bytes | Unreadable]
        offsets: Sequence[int]
        lasts: Sequence[int]
        if isinstance(values, Unreadable):
            gone.add((s, b))
            taken, wanted = [values], 1
            offsets, lasts = [max(batch.base, pending.first)], [batch.next - 1]
        else:
            wanted = min(1 if pending.topic == COMMANDS else count, len(values) - at)
            whole = values[at : at + wanted]
            taken = whole[: _fitting(whole, CYCLE_BYTES_MAX - size) or (0 if rows.offset else 1)]
            size += sum(map(len, taken))
            offsets = lasts = range(batch.base + at, batch.base + at + len(taken))
        rows.source.extend([s] * len(taken))
        rows.offset.extend(offsets)
        rows.last_offset.extend(lasts)
        rows.broker_ms.extend([pending.broker_ms(b)] * len(taken))
        rows.value.extend(taken)
        if pending.topic == COMMANDS or size >= CYCLE_BYTES_MAX or len(taken) < wanted:
            break
    return rows


def _fitting(values: list[bytes], nbytes: int) -> int:
    """How many of the first values take at most `nbytes`."""
    return int(np.searchsorted(np.cumsum([len(value) for value in values]), nbytes, side="right"))
