"""From fetches to cycles: every record once, in order, merged by time, cut where a cycle must end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import limits
from schemas.report import shanghai_day
from schemas.topics import COMMANDS
from stream import cycle_input
from stream.cycle_input import Buffer, Cycle
from tests.making import BUS, METRO, NOON_MS, SOURCES, arrived, batch, head

HOUR_MS = 3_600_000


def drained(buffer: Buffer, cycles: list[Cycle], time_ms: int) -> int:
    while buffer.rows():
        cycles.append(buffer.take(head(time_ms)))
        time_ms = cycles[-1].time_ms[-1]
    return time_ms


@st.composite
def logs(draw: st.DrawFn) -> dict[str, list]:
    """What stands in each topic: gaps between offsets, clocks that step back, commands here and there."""
    log: dict[str, list] = {}
    for topic in SOURCES:
        offset, ms, records = 0, NOON_MS, []
        for _ in range(draw(st.integers(0, 2 if topic == COMMANDS else 8))):
            offset += draw(st.sampled_from([0, 0, 1, 3]))
            ms += draw(st.sampled_from([0, 1, 5, -3, 7 * HOUR_MS]))
            records.append(arrived(offset, draw(st.sampled_from([None, b"a", b"b" * 40])), ms))
            offset += 1
        log[topic] = records
    return log


@settings(max_examples=200, deadline=None)
@given(logs(), st.data())
def test_every_arrival_gives_every_record_once_in_order(log: dict, data: st.DataObject) -> None:
    buffer, cycles, time_ms = Buffer(0, dict.fromkeys(SOURCES, 0)), [], 0
    left = {topic: list(records) for topic, records in log.items() if records}
    while left:
        topic = data.draw(st.sampled_from(sorted(left)))
        size = data.draw(st.integers(1, len(left[topic])))
        fetched, left[topic] = left[topic][:size], left[topic][size:]
        assert buffer.add(batch(topic, fetched, first=buffer.next_of(topic)))
        left = {t: records for t, records in left.items() if records}
        if data.draw(st.booleans()):
            time_ms = drained(buffer, cycles, time_ms)
    drained(buffer, cycles, time_ms)
    spans: dict[str, int] = dict.fromkeys(SOURCES, 0)
    seen: dict[str, list] = {topic: [] for topic in SOURCES}
    for cycle in cycles:
        for span in cycle.sources:
            assert span.first == spans[span.topic], "spans must be contiguous"
            spans[span.topic] = span.next
        for source, offset, value in zip(cycle.source, cycle.offset, cycle.value, strict=True):
            span = cycle.sources[source]
            assert span.first <= offset < span.next
            seen[span.topic].append((offset, value))
        assert cycle.time_ms == sorted(cycle.time_ms)
        assert len({shanghai_day(ms) for ms in cycle.time_ms}) == 1, "a cycle has one day"
        commands = [i for i, source in enumerate(cycle.source) if cycle.sources[source].topic == COMMANDS]
        assert commands in ([], [len(cycle.source) - 1]), "a command ends its cycle"
    assert seen == {topic: [(r.offset, r.value or b"") for r in records] for topic, records in log.items()}
    assert all(spans[topic] == (records[-1].offset + 1 if records else 0) for topic, records in log.items())
    assert [c.time_ms[0] for c in cycles] == sorted(c.time_ms[0] for c in cycles)
    assert not buffer.full()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([METRO, BUS]), st.integers(0, 5)), min_size=1, max_size=20))
def test_records_fetched_together_are_merged_by_time_topic_and_offset(records: list) -> None:
    buffer, due = Buffer(0, dict.fromkeys(SOURCES, 0)), []
    for topic in (METRO, BUS):
        times = sorted(ms for t, ms in records if t == topic)
        if times:
            buffer.add(batch(topic, [arrived(n, b"x", NOON_MS + ms) for n, ms in enumerate(times)]))
        due += [(NOON_MS + ms, topic, n) for n, ms in enumerate(times)]
    cycle = buffer.take(head(0))
    topics = [cycle.sources[source].topic for source in cycle.source]
    assert list(zip(cycle.broker_ms, topics, cycle.offset, strict=True)) == sorted(due)


def test_a_cycle_ends_at_midnight_in_shanghai() -> None:
    midnight_ms = NOON_MS + 12 * HOUR_MS
    buffer = Buffer(0, {METRO: 0})
    buffer.add(batch(METRO, [arrived(n, b"x", midnight_ms + n - 2) for n in range(4)]))
    assert [len(buffer.take(head(0)).value), len(buffer.take(head(0)).value)] == [2, 2]


def test_a_shards_time_never_steps_back_and_carries_the_clocks_offset() -> None:
    buffer = Buffer(0, {METRO: 0})
    buffer.add(batch(METRO, [arrived(0, b"x", NOON_MS), arrived(1, b"x", NOON_MS - 50)]))
    buffer.add(batch(METRO, [arrived(2, b"x", NOON_MS - 99), arrived(3, b"x", NOON_MS + 7)]))
    cycle = buffer.take(head(NOON_MS + 3, clock_offset_ms=2))
    assert cycle.time_ms == [NOON_MS + 3, NOON_MS + 3, NOON_MS + 3, NOON_MS + 9]
    assert cycle.broker_ms == [NOON_MS, NOON_MS, NOON_MS, NOON_MS + 7]


def test_rows_and_bytes_limit_a_cycle_and_a_large_record_still_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cycle_input, "CYCLE_ROWS_MAX", 3)
    monkeypatch.setattr(cycle_input, "CYCLE_BYTES_MAX", 10)
    buffer = Buffer(0, dict.fromkeys((METRO, BUS), 0))
    values = [b"x" * 4, b"x" * 6, b"x", b"x" * 99, b"x", b"x", b"x", b"x"]
    buffer.add(batch(METRO, [arrived(n, value, NOON_MS + n) for n, value in enumerate(values)]))
    buffer.add(batch(BUS, [arrived(0, b"", NOON_MS + 100)]))
    taken = []
    while buffer.rows():
        taken.append([len(value) for value in buffer.take(head(0)).value])
    assert taken == [[4, 6], [1], [99], [1, 1, 1], [1, 0]]


def test_a_batch_that_does_not_continue_is_refused() -> None:
    buffer = Buffer(0, {METRO: 5})
    assert not buffer.add(batch(METRO, [arrived(9, b"x")]))
    assert not buffer.add(batch(METRO, [arrived(4, b"x")]))
    assert not buffer.add(batch("intake.unknown", [arrived(0, b"x")]))
    assert buffer.add(batch(METRO, [arrived(7, b"x")], first=5)), (
        "offsets of transaction markers are no records"
    )
    assert buffer.next_of(METRO) == 8
    [span] = buffer.take(head(0)).sources
    assert (span.first, span.next) == (5, 8)


def test_sources_wait_when_rows_or_bytes_pile_up() -> None:
    buffer = Buffer(0, {METRO: 0})
    size = limits.INTAKE_MESSAGE_BYTES_MAX
    count = limits.BUFFERED_BYTES_MAX // size
    buffer.add(batch(METRO, [arrived(n, b"x" * size) for n in range(count)]))
    assert buffer.full()
    buffer.take(head(0))
    assert not buffer.full()
    buffer = Buffer(0, {METRO: 0})
    buffer.add(batch(METRO, [arrived(n, b"x") for n in range(limits.BUFFERED_ROWS_MAX)]))
    assert buffer.full()
