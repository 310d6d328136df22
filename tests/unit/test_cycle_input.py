"""From fetches to cycles: every offset once, in order, cut where a cycle must end. Order: test_fair_time."""

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import limits
from schemas.report import shanghai_day
from schemas.topics import COMMANDS
from stream.batches.reader import Batch
from stream.core import cycle_input, pending
from stream.core.cycle_input import Buffer
from tests.making import BUS, METRO, NOON_MS, SOURCES, TODAY, fetch, head, packed, source
from tests.unit.fair_time import (
    HOUR_MS,
    MIDNIGHT_MS,
    Log,
    Shard,
    end_of,
    logs,
    new_buffer,
    ones,
    places,
    refused,
    unreadable,
)


@st.composite
def hostile_logs(draw: st.DrawFn) -> Log:
    """As `logs`, some batches of an app replaced by such as cannot be read."""
    log = draw(logs([0, 1, 5, -3, 7 * HOUR_MS]))
    for topic in (BUS, METRO):
        log[topic] = [
            draw(st.sampled_from([b, b, unreadable(b.base, rows, b.broker_ms), refused(b.base, rows)]))
            for b in log[topic]
            for rows in [b.claimed]
        ]
        if draw(st.booleans()):
            log[topic].append(refused(end_of(log[topic]), 2**31 - 1))
    return log


@settings(max_examples=300, deadline=None)
@given(hostile_logs(), st.sampled_from([1, 5, 300]), st.integers(0, 2**32).map(random.Random))
def test_every_arrival_gives_every_offset_exactly_one_row(
    log: Log, fair_rows_s: int, chance: random.Random
) -> None:
    shard = Shard(log, fair_rows_s, ends=chance.random() < 0.5)
    cycles = shard.run(chance)
    seen: dict[str, list] = {topic: [] for topic in SOURCES}
    for cycle in cycles:
        rows = zip(cycle.source, cycle.offset, cycle.last_offset, cycle.value, strict=True)
        for s, offset, last, value in rows:
            span = cycle.sources[s]
            assert span.first <= offset <= last < span.next
            seen[span.topic].append((offset, last, value.__class__ is bytes))
        assert cycle.time_ms == sorted(cycle.time_ms)
        assert len({shanghai_day(ms) for ms in cycle.time_ms}) == 1, "a cycle has one day"
        commands = [i for i, s in enumerate(cycle.source) if cycle.sources[s].topic == COMMANDS]
        assert commands in ([], [len(cycle.source) - 1]), "a command ends its cycle"
        assert len(cycle.sources) == len(set(cycle.source)), "no span of nothing"
    assert {topic: sorted(rows) == rows and rows for topic, rows in seen.items()} == {
        topic: [row for b in batches for row in rows_due(b)] for topic, batches in log.items()
    }
    assert {topic: s.next for topic, s in shard.sources.items()} == {t: end_of(b) for t, b in log.items()}
    assert [c.time_ms[0] for c in cycles] == sorted(c.time_ms[0] for c in cycles)
    assert shard.buffer.nbytes == 0


def rows_due(batch: Batch) -> list[tuple[int, int, bool]]:
    """One row an offset, (first, last, whether it has a value); one row in all for what cannot be read."""
    if batch.refused or batch.codec:
        return [(batch.base, batch.next - 1, False)]
    return [(offset, offset, True) for offset in range(batch.base, batch.next)]


def test_values_stand_at_their_offsets() -> None:
    buffer = new_buffer()
    buffer.add(fetch(METRO, [packed(0, b"a", None, b"c"), packed(5, b"f")]))
    cycle = buffer.take(head(0), TODAY)
    assert dict(zip(cycle.offset, cycle.value, strict=True)) == {0: b"a", 1: b"", 2: b"c", 5: b"f"}


def test_a_batch_that_was_begun_goes_on_within() -> None:
    """As after a takeover: the broker sends the whole batch again."""
    buffer = Buffer(0, {METRO: source(2)}, limits.FAIR_ROWS_S)
    assert buffer.add(fetch(METRO, [packed(0, b"a", b"b", b"c", b"d")], first=2))
    cycle = buffer.take(head(0), TODAY)
    assert (cycle.offset, cycle.value, cycle.sources[0].first) == ([2, 3], [b"c", b"d"], 2)


# --- where a cycle ends ----------------------------------------------------------------------------------


def test_a_cycle_ends_at_midnight_in_shanghai() -> None:
    buffer = new_buffer()
    buffer.add(fetch(METRO, ones(4, ms=MIDNIGHT_MS - 2)))
    assert [len(buffer.take(head(0), TODAY).value), len(buffer.take(head(0), TODAY).value)] == [2, 2]


def test_a_shards_time_never_steps_back_and_carries_the_clocks_offset() -> None:
    """Nor do the times of a source: a broker's clock that steps back must not put it before others."""
    buffer = new_buffer()
    for offset, ms in enumerate((NOON_MS, NOON_MS - 50, NOON_MS - 99, NOON_MS + 7)):
        buffer.add(fetch(METRO, [packed(offset, b"x", ms=ms)]))
    cycle = buffer.take(head(NOON_MS + 3, clock_offset_ms=2), TODAY)
    assert cycle.time_ms == [NOON_MS + 3, NOON_MS + 3, NOON_MS + 3, NOON_MS + 9]
    assert cycle.broker_ms == [NOON_MS, NOON_MS, NOON_MS, NOON_MS + 7]


@pytest.mark.parametrize("together", [True, False])
def test_rows_and_bytes_limit_a_cycle_and_a_large_record_still_passes(
    together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (cycle_input, pending):
        monkeypatch.setattr(module, "CYCLE_ROWS_MAX", 3)
    monkeypatch.setattr(cycle_input, "CYCLE_BYTES_MAX", 10)
    buffer = new_buffer()
    values = [b"x" * 4, b"x" * 6, b"x", b"x" * 99, b"x", b"x", b"x", b"x"]
    apart = [packed(n, value) for n, value in enumerate(values)]
    buffer.add(fetch(METRO, [packed(0, *values)] if together else apart))
    buffer.add(fetch(BUS, [packed(0, b"", ms=NOON_MS + 100)]))
    taken = []
    while buffer.waiting(TODAY):
        taken.append([len(value) for value in buffer.take(head(0), TODAY).value])
    assert taken == [[4, 6], [1], [99], [1, 1, 1], [1, 0]]


@pytest.mark.parametrize(("bytes_max", "cycles"), [(9, [1, 3]), (10, [2, 2]), (11, [3, 1]), (12, [4])])
def test_a_cycle_is_full_with_its_last_byte(
    bytes_max: int, cycles: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then not even a record of no bytes goes into it."""
    monkeypatch.setattr(cycle_input, "CYCLE_BYTES_MAX", bytes_max)
    buffer = new_buffer()
    values = [b"x" * 4, b"x" * 6, b"", b"xx"]
    buffer.add(fetch(METRO, [packed(n, value) for n, value in enumerate(values)]))
    taken = []
    while buffer.waiting(TODAY):
        taken.append(len(buffer.take(head(0), TODAY).value))
    assert taken == cycles


@pytest.mark.parametrize(("bytes_max", "rows"), [(99, 1), (100, 1), (101, 2), (200, 2), (201, 3)])
def test_no_further_batch_is_unpacked_once_the_most_bytes_are(
    bytes_max: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cycle_input, "UNPACKED_BYTES_MAX", bytes_max)
    value = b"x" * (100 - limits.VALUE_HELD_BYTES)
    buffer = new_buffer()
    buffer.add(fetch(METRO, [packed(n, value) for n in range(4)]))
    assert len(buffer.take(head(0), TODAY).value) == rows


def test_nothing_goes_before_the_earliest_that_any_source_still_owes() -> None:
    """Of two sources that are behind, the one whose next record may be earlier."""
    buffer = new_buffer()
    buffer.add(fetch(METRO, [packed(0, b"m")], end=9))
    buffer.add(fetch(BUS, [packed(0, b"b", ms=NOON_MS + 5_000)], end=9))
    assert places([buffer.take(head(0), TODAY)]) == [(METRO, 0)]
    assert buffer.take(head(0), TODAY) is None


def test_a_command_ends_its_cycle_also_among_records_of_its_batch() -> None:
    buffer = new_buffer()
    buffer.add(fetch(COMMANDS, [packed(0, b"a", b"b", ms=NOON_MS + 1)]))
    buffer.add(fetch(METRO, [packed(0, b"x"), packed(1, b"y", ms=NOON_MS + 1)]))
    taken = [places([buffer.take(head(0), TODAY)]) for _ in range(3)]
    assert taken == [[(METRO, 0), (COMMANDS, 0)], [(COMMANDS, 1)], [(METRO, 1)]]


# --- batches that cannot be read -------------------------------------------------------------------------


def test_a_header_that_claims_two_billion_offsets_costs_one_row_and_no_memory() -> None:
    """Neither of the buffer, nor of its source's share of the shard, nor of its quota."""
    buffer = new_buffer(metro=100)
    buffer.add(fetch(METRO, [refused(0, 2**31 - 1), packed(2**31 - 1, b"x")]))
    buffer.add(fetch(BUS, [packed(0, b"x", ms=NOON_MS + 1)]))
    tracemalloc.start()
    cycle = buffer.take(head(0), TODAY)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < limits.MIB
    rows = list(zip(cycle.source, cycle.offset, cycle.last_offset, strict=True))
    assert rows == [(1, 0, 2**31 - 2), (1, 2**31 - 1, 2**31 - 1), (0, 0, 0)], "nobody waits for it"
    span = cycle.sources[1]
    assert (span.next, span.day_rows) == (2**31, 2)
    assert span.paid_us < (NOON_MS + 1_000) * 1_000


def test_one_row_stands_for_a_batch_however_a_cycle_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cycle_input, pending):
        monkeypatch.setattr(module, "CYCLE_ROWS_MAX", 5)
    buffer = new_buffer()
    buffer.add(fetch(METRO, [packed(0, b"a"), unreadable(1, 60), packed(61, b"b", b"c")]))
    cycles = [buffer.take(head(0), TODAY), buffer.take(head(0), TODAY)]
    rows = [list(zip(c.offset, c.last_offset, strict=True)) for c in cycles]
    assert rows == [[(0, 0), (1, 60)], [(61, 61), (62, 62)]]
    assert [(s.first, s.next) for c in cycles for s in c.sources] == [(0, 61), (61, 63)]


def test_an_unreadable_batch_that_was_begun_tells_what_is_left_of_it() -> None:
    buffer = Buffer(0, {METRO: source(3)}, limits.FAIR_ROWS_S)
    buffer.add(fetch(METRO, [unreadable(0, 9)], first=3))
    cycle = buffer.take(head(0), TODAY)
    assert (cycle.offset, cycle.last_offset, cycle.value[0].reason) == ([3], [8], "damaged")
