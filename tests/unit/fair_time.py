"""Logs for tests of the order of a shard, and its definition once more: one record at a time, plain integers.

Shares no code with stream/core/cycle_input.py but the limits.
"""

import dataclasses
import random
from collections.abc import Iterable

from hypothesis import strategies as st

from schemas import limits
from schemas.report import DAY_MS, SHANGHAI_OFFSET_MS
from schemas.state import Source
from schemas.topics import COMMANDS
from stream.batches.reader import Batch, Unreadable
from stream.core.cycle_input import Buffer, Cycle
from tests.making import BUS, METRO, NOON_MS, SOURCES, TODAY, fetch, head, packed, source

HOUR_MS = 3_600_000
MIDNIGHT_MS = NOON_MS + 12 * HOUR_MS
SECOND_US = 1_000_000
Log = dict[str, list[Batch]]
Place = tuple[str, int]  # topic, offset


@st.composite
def logs(draw: st.DrawFn, gaps_ms: Iterable[int], rows_max: int = 12, batches_max: int = 8) -> Log:
    """What stands in each topic: batches of some rows, gaps between offsets, clocks that step back."""
    log: Log = {}
    for topic in SOURCES:
        offset, ms, log[topic] = 0, NOON_MS, []
        for _ in range(draw(st.integers(0, 2 if topic == COMMANDS else batches_max))):
            offset += draw(st.sampled_from([0, 0, 1, 3]))
            ms += draw(st.sampled_from(list(gaps_ms)))
            rows = draw(st.integers(1, 2 if topic == COMMANDS else rows_max))
            log[topic].append(packed(offset, *[b"%d" % n for n in range(rows)], ms=ms))
            offset += rows
    return log


def below(log: Log, fair_rows_s: int) -> Log:
    """What is left of a log if no app sends more than R records a second, and a second's worth at once."""
    kept: Log = {COMMANDS: log[COMMANDS]}
    for topic in (BUS, METRO):
        level = last_ms = 0  # records times 1,000: what has not run off yet
        kept[topic] = []
        for b in log[topic]:
            level = max(level - fair_rows_s * (b.broker_ms - last_ms), 0)
            last_ms = b.broker_ms
            if level + 1_000 * (b.next - b.base) <= 1_000 * fair_rows_s:
                level += 1_000 * (b.next - b.base)
                kept[topic].append(b)
    return kept


def brokers_order(log: Log) -> list[Place]:
    """All records as the broker's timestamps have them: commands first, then by topic and offset."""
    stamped = [
        (b.broker_ms, topic != COMMANDS, topic, offset)
        for topic, batches in log.items()
        for b in batches
        for offset in range(b.base, b.next)
    ]
    return [(topic, offset) for _, _, topic, offset in sorted(stamped)]


def end_of(batches: list[Batch]) -> int:
    return batches[-1].next if batches else 0


def places(cycles: list[Cycle]) -> list[Place]:
    """What was decided, in order."""
    return [
        (c.sources[s].topic, offset)
        for c in cycles
        for s, first, last in zip(c.source, c.offset, c.last_offset, strict=True)
        for offset in range(first, last + 1)
    ]


@dataclasses.dataclass
class Shard:
    """A buffer as the worker keeps it: fed from a log in pieces, emptied by cycles, made again any time."""

    log: Log
    fair_rows_s: int
    ends: bool = True  # whether it is known up to where records exist

    def __post_init__(self) -> None:
        self.cycles: list[Cycle] = []
        self.time_ms = 0
        self.sources = {topic: source(0, topic) for topic in SOURCES}
        self.recover()

    def recover(self) -> None:
        """As a worker that takes the shard over: it knows what the ledger says."""
        ends = {topic: end_of(batches) for topic, batches in self.log.items()} if self.ends else None
        self.buffer = Buffer(0, self.sources, self.fair_rows_s, ends)

    def unfetched(self) -> list[str]:
        return sorted(t for t, batches in self.log.items() if end_of(batches) > self.buffer.next_of(t))

    def fetch(self, topic: str, batches: int) -> None:
        """The next batches of a topic; the first may have begun before what is due."""
        due = self.buffer.next_of(topic)
        found = [b for b in self.log[topic] if b.next > due][:batches]
        assert self.buffer.add(fetch(topic, found, first=due))

    def take(self, today: int = TODAY) -> Cycle | None:
        cycle = self.buffer.take(head(self.time_ms), today)
        if cycle:
            self.cycles.append(cycle)
            self.time_ms = cycle.time_ms[-1]
            for span in cycle.sources:
                assert span.first == self.sources[span.topic].next, "spans must be contiguous"
                self.sources[span.topic] = Source(
                    span.topic_id, span.next, span.paid_us, span.day, span.day_rows
                )
        return cycle

    def drain(self) -> list[Cycle]:
        while self.take():
            pass
        return self.cycles

    def run(self, chance: random.Random) -> list[Cycle]:
        """Fetches, cycles and recoveries in any order, until all is decided."""
        while self.unfetched() or self.buffer.waiting(TODAY):
            turn = chance.random()
            if turn < 0.05:
                self.recover()
            elif turn < 0.5 and (topics := self.unfetched()):
                self.fetch(chance.choice(topics), chance.randint(1, 4))
            else:
                self.take()
        return self.cycles


@dataclasses.dataclass
class Reference:
    """The definition of fair time, on a log that is wholly in hand before the first cycle."""

    log: Log
    fair_rows_s: int
    paid_us: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(SOURCES, 0))

    def cycles(self) -> list[list[tuple[str, int, int]]]:
        """(topic, offset, shard's time) of each row, by cycle."""
        queues = {
            topic: [(b.broker_ms, o) for b in batches for o in range(b.base, b.next)]
            for topic, batches in self.log.items()
        }
        for queue in queues.values():
            for i in range(1, len(queue)):
                queue[i] = (max(queue[i][0], queue[i - 1][0]), queue[i][1])
        time_ms, cycles = 0, []
        while any(queues.values()):
            cycle, day, before = [], None, dict(self.paid_us)
            while any(queues.values()) and len(cycle) < limits.CYCLE_ROWS_MAX:
                _, _, topic = min(
                    (self.fair_us(t, queue[0][0]), t != COMMANDS, t) for t, queue in queues.items() if queue
                )
                now_ms = max(time_ms, queues[topic][0][0])
                if day not in (None, (now_ms + SHANGHAI_OFFSET_MS) // DAY_MS):
                    break
                day, time_ms = (now_ms + SHANGHAI_OFFSET_MS) // DAY_MS, now_ms
                ms, offset = queues[topic].pop(0)
                if topic != COMMANDS:
                    begin_us = max(ms * 1_000, self.paid_us[topic])
                    self.paid_us[topic] = begin_us + SECOND_US // self.fair_rows_s
                cycle.append((topic, offset, now_ms))
                if topic == COMMANDS:
                    break
            for topic in {topic for topic, _, _ in cycle}:
                if not any(queue for t, queue in queues.items() if t != topic):
                    most = max(before[topic], time_ms * 1_000)
                    self.paid_us[topic] = min(self.paid_us[topic], most)
            cycles.append(cycle)
        return cycles

    def fair_us(self, topic: str, ms: int) -> int:
        begin_us = max(ms * 1_000, self.paid_us[topic])
        return max(ms * 1_000, (begin_us - limits.FAIR_BURST_US) // SECOND_US * SECOND_US)


def rows_of(cycles: list[Cycle]) -> list[list[tuple[str, int, int]]]:
    """As `Reference.cycles` has them."""
    return [
        [
            (c.sources[s].topic, offset, ms)
            for s, offset, ms in zip(c.source, c.offset, c.time_ms, strict=True)
        ]
        for c in cycles
    ]


def new_buffer(**rows_max: int) -> Buffer:
    """Of all sources; `rows_max`: quotas by app."""
    buffer = Buffer(0, {topic: source(0, topic) for topic in SOURCES}, limits.FAIR_ROWS_S)
    for app, rows in rows_max.items():
        buffer.limit(f"intake.{app}", rows)
    return buffer


def ones(count: int, value: bytes = b"x", first: int = 0, ms: int = NOON_MS) -> list[Batch]:
    """Batches of one row, as apps send them that do not collect."""
    return [packed(first + n, value, ms=ms + n) for n in range(count)]


def unreadable(base: int, rows: int, ms: int = NOON_MS) -> Batch:
    """A batch that cannot be unpacked; its header does not tell."""
    return Batch(base, base + rows, ms, rows, 1, b"no gzip", None)


def refused(base: int, offsets: int, ms: int = NOON_MS) -> Batch:
    """A batch that its header already refuses."""
    return Batch(
        base, base + offsets, ms, 1, 0, b"", Unreadable("none", "more records than a batch may have")
    )
