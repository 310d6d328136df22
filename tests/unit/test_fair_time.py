"""Fair time: below its rate nobody is put off, beyond it everybody but itself goes first. See cycle_input."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import limits
from schemas.topics import COMMANDS
from stream.core import cycle_input, pending
from stream.core.cycle_input import Buffer
from tests.making import BUS, METRO, NOON_MS, SOURCES, TODAY, fetch, head, packed, source
from tests.unit.fair_time import (
    HOUR_MS,
    MIDNIGHT_MS,
    Log,
    Reference,
    Shard,
    below,
    brokers_order,
    logs,
    places,
    rows_of,
)

GAPS_MS = (0, 0, 1, 40, 333, 1_000, 2_500, 7 * HOUR_MS)
RATES = st.sampled_from([1, 3, 7, 12])
CHANCE = st.integers(0, 2**32).map(random.Random)


@settings(max_examples=400, deadline=None)
@given(logs(GAPS_MS), RATES, CHANCE)
def test_below_the_rate_the_brokers_order_stands_however_it_is_fetched(
    log: Log, fair_rows_s: int, chance: random.Random
) -> None:
    """After an outage of any length, a takeover at any time, and with any source fetched last."""
    log = below(log, fair_rows_s)
    assert places(Shard(log, fair_rows_s).run(chance)) == brokers_order(log)


@settings(max_examples=400, deadline=None)
@given(logs((*GAPS_MS, -5)), RATES, st.sampled_from([3, 20, limits.CYCLE_ROWS_MAX]))
def test_the_order_and_what_is_paid_are_those_of_the_definition(
    log: Log, fair_rows_s: int, cycle_rows: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        for module in (limits, cycle_input, pending):
            patched.setattr(module, "CYCLE_ROWS_MAX", cycle_rows)
        shard, reference = Shard(log, fair_rows_s), Reference(log, fair_rows_s)
        for topic in shard.unfetched():
            shard.fetch(topic, len(log[topic]))
        assert rows_of(shard.drain()) == reference.cycles()
    assert {topic: s.paid_us for topic, s in shard.sources.items()} == reference.paid_us


@settings(max_examples=200, deadline=None)
@given(logs((*GAPS_MS, -5)), RATES, CHANCE)
def test_what_is_wholly_in_hand_gives_the_same_cycles_however_it_was_fetched(
    log: Log, fair_rows_s: int, chance: random.Random
) -> None:
    at_once, in_pieces = Shard(log, fair_rows_s), Shard(log, fair_rows_s, ends=chance.random() < 0.5)
    for topic in at_once.unfetched():
        at_once.fetch(topic, len(log[topic]))
    while topics := in_pieces.unfetched():
        in_pieces.fetch(chance.choice(topics), chance.randint(1, 3))
    assert in_pieces.drain() == at_once.drain()


@settings(max_examples=400, deadline=None)
@given(logs(GAPS_MS, rows_max=60), logs(GAPS_MS, rows_max=2), RATES, CHANCE)
def test_a_flood_puts_at_most_its_bound_of_rows_before_any_waiting_record(
    flood: Log, quiet: Log, fair_rows_s: int, chance: random.Random
) -> None:
    """Of each other source R * (lag + 2 s) + 1, whatever it sends, and whatever was decided before."""
    log = {COMMANDS: [], BUS: flood[BUS], METRO: below(quiet, fair_rows_s)[METRO]}
    broker_ms = {
        (topic, o): b.broker_ms
        for topic, batches in log.items()
        for b in batches
        for o in range(b.base, b.next)
    }
    shard, decided_at = Shard(log, fair_rows_s, ends=False), {}
    while shard.unfetched() or shard.buffer.waiting(TODAY):
        if chance.random() < 0.5 and (topics := shard.unfetched()):
            topic = chance.choice(topics)
            due = shard.buffer.next_of(topic)
            shard.fetch(topic, 1)
            arrived = range(due, shard.buffer.next_of(topic))
            decided_at |= dict.fromkeys(((topic, o) for o in arrived), len(places(shard.cycles)))
        else:
            shard.take()
    order = places(shard.cycles)
    step_us = 1_000_000 // fair_rows_s
    for at, place in enumerate(order):
        if place[0] == METRO:
            ahead = [p for p in order[decided_at[place] : at] if p[0] == BUS]
            lag_us = (broker_ms[place] - broker_ms[ahead[0]]) * 1_000 if ahead else 0
            assert len(ahead) <= (lag_us + 2_000_000) // step_us + 1


def test_the_bound_is_met_and_half_of_it_is_usual() -> None:
    """A flood of the same millisecond: two seconds' worth goes before, at the worst; the rest behind."""
    for ms, ahead in ((NOON_MS, 20), (NOON_MS + 999, 11)):
        buffer = Buffer(0, {topic: source(0, topic) for topic in SOURCES}, fair_rows_s=10)
        buffer.add(fetch(BUS, [packed(0, *[b"x"] * 100, ms=ms)]))
        buffer.add(fetch(METRO, [packed(0, b"x", ms=ms)]))
        cycle = buffer.take(head(0), TODAY)
        assert [cycle.sources[s].topic for s in cycle.source].index(METRO) == ahead
        assert len(cycle.source) == 101, "the flood is put off, not left"


def test_what_was_given_while_nobody_waited_is_not_held_against_a_source() -> None:
    buffer = Buffer(0, {topic: source(0, topic) for topic in SOURCES}, fair_rows_s=10)
    buffer.add(fetch(METRO, [packed(0, *[b"x"] * 1_000)]))
    assert len(buffer.take(head(0), TODAY).value) == 1_000
    # It was given 100 seconds' worth; a second later it is as good as anybody.
    buffer.add(fetch(METRO, [packed(1_000, b"x", ms=NOON_MS + 1_000)]))
    buffer.add(fetch(BUS, [packed(0, b"x", ms=NOON_MS + 1_001)]))
    cycle = buffer.take(head(0), TODAY)
    assert [cycle.sources[s].topic for s in cycle.source] == [METRO, BUS]


def test_what_was_given_while_somebody_waited_is_held_against_a_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waiting is also who owes what exists; a cycle alone afterwards does not wipe the debt off."""
    for module in (cycle_input, pending):
        monkeypatch.setattr(module, "CYCLE_ROWS_MAX", 30)
    buffer = Buffer(0, {topic: source(0, topic) for topic in SOURCES}, fair_rows_s=10)
    buffer.add(fetch(METRO, [packed(0, *[b"x"] * 60)]))
    buffer.add(fetch(BUS, [packed(0, b"x", ms=NOON_MS + 30_000)], end=2))
    [first] = buffer.take(head(0), TODAY).sources
    assert first.paid_us == (NOON_MS + 3_000) * 1_000
    [second] = buffer.take(head(0), TODAY).sources
    assert second.paid_us == (NOON_MS + 6_000) * 1_000
    buffer.take(head(0), TODAY)
    buffer.add(fetch(METRO, [packed(60, *[b"x"] * 20)]))
    [third] = buffer.take(head(0), TODAY).sources
    assert (third.next, third.paid_us) == (80, (NOON_MS + 8_000) * 1_000), "somebody who owes waits"
    buffer.forgive([BUS])
    buffer.add(fetch(METRO, [packed(80, *[b"x"] * 20)]))
    [alone] = buffer.take(head(0), TODAY).sources
    assert alone.paid_us == (NOON_MS + 8_000) * 1_000, "no more than before, and no less"


def test_a_flood_that_waits_for_its_quota_delays_nobody_when_the_next_day_begins() -> None:
    """Its records are twelve hours older than the others', which would be 432,000 rows at ten a second."""
    buffer = Buffer(0, {t: source(0, t) for t in SOURCES}, 10)
    buffer.limit(METRO, 100)
    buffer.add(fetch(METRO, [packed(0, *[b"x"] * 100)]))
    buffer.take(head(0), TODAY)
    assert buffer.used_up(TODAY) == [METRO]
    buffer.add(fetch(METRO, [packed(100, *[b"x"] * 5_000, ms=NOON_MS + 1)]))
    assert buffer.take(head(0), TODAY) is None
    buffer.add(fetch(BUS, [packed(0, b"x", ms=MIDNIGHT_MS + 5_000)]))
    cycle = buffer.take(head(0), TODAY + 1)
    assert {s.topic: s.next for s in cycle.sources} == {METRO: 160}, "5 s of the day, and 1 s of the burst"
    assert places([buffer.take(head(cycle.time_ms[-1]), TODAY + 1)])[0] == (BUS, 0)


# --- what is known to exist comes first ------------------------------------------------------------------


def test_a_source_fetched_late_is_waited_for() -> None:
    buffer = Buffer(0, {t: source(0, t) for t in SOURCES}, 10, ends={COMMANDS: 1, BUS: 3, METRO: 1})
    buffer.add(fetch(METRO, [packed(0, b"x", ms=NOON_MS + 5)]))
    assert buffer.take(head(0), TODAY) is None
    assert sorted(buffer.owing(TODAY)) == [COMMANDS, BUS]
    buffer.add(fetch(COMMANDS, [packed(0, b"x", ms=NOON_MS + 9)]))
    buffer.add(fetch(BUS, [packed(0, b"x", ms=NOON_MS + 1)]))
    [span] = buffer.take(head(0), TODAY).sources
    assert (span.topic, span.next) == (BUS, 1), "two more of it may be older than the others'"
    buffer.add(fetch(BUS, [packed(1, b"x", b"x", ms=NOON_MS + 7)]))
    assert places([buffer.take(head(0), TODAY)]) == [(METRO, 0), (BUS, 1), (BUS, 2), (COMMANDS, 0)]


@pytest.mark.parametrize(("topic", "taken"), [(METRO, [(BUS, 0)]), (BUS, None), (COMMANDS, None)])
def test_equal_times_wait_for_those_alone_who_come_first(topic: str, taken: list | None) -> None:
    """A command of the same millisecond, fetched later, must not be overtaken; nor must a topic before."""
    waits = BUS if topic == METRO else METRO
    buffer = Buffer(0, {t: source(0, t) for t in SOURCES}, 10)
    buffer.add(fetch(topic, [packed(0, b"x")], end=2))
    assert places([buffer.take(head(0), TODAY)]) == [(topic, 0)]
    buffer.add(fetch(waits, [packed(0, b"x")]))
    cycle = buffer.take(head(0), TODAY)
    assert (cycle and places([cycle])) == taken


def test_nobody_waits_for_the_unfetched_records_of_a_flood() -> None:
    """What it has paid tells that they come later, before they are there."""
    sources = {t: source(0, t) for t in SOURCES}
    sources[METRO] = msgspec.structs.replace(sources[METRO], paid_us=(NOON_MS + 60_000) * 1_000)
    buffer = Buffer(0, sources, 10, ends={METRO: 5})
    buffer.add(fetch(BUS, [packed(0, b"x", ms=NOON_MS + 58_999), packed(1, b"x", ms=NOON_MS + 59_001)]))
    assert places([buffer.take(head(0), TODAY)]) == [(BUS, 0)]
    assert buffer.take(head(0), TODAY) is None
    assert buffer.owing(TODAY) == [METRO]


def test_what_is_forgiven_is_waited_for_no_longer_and_merged_when_it_comes() -> None:
    buffer = Buffer(0, {t: source(0, t) for t in SOURCES}, 10, ends={BUS: 2})
    buffer.add(fetch(METRO, [packed(0, b"x", ms=NOON_MS + 5)]))
    assert buffer.take(head(0), TODAY) is None
    buffer.forgive(buffer.owing(TODAY))
    assert places([buffer.take(head(0), TODAY)]) == [(METRO, 0)]
    buffer.add(fetch(METRO, [packed(1, b"x", ms=NOON_MS + 9)]))
    buffer.add(fetch(BUS, [packed(0, b"x", b"x", ms=NOON_MS)]))
    assert places([buffer.take(head(0), TODAY)]) == [(BUS, 0), (BUS, 1), (METRO, 1)]


def test_a_source_whose_quota_is_used_up_is_not_waited_for() -> None:
    buffer = Buffer(0, {t: source(0, t) for t in SOURCES}, 10)
    buffer.limit(BUS, 1)
    buffer.add(fetch(BUS, [packed(0, b"x")], end=5))
    buffer.take(head(0), TODAY)
    buffer.add(fetch(METRO, [packed(0, b"x", ms=NOON_MS + 5_000)]))
    assert buffer.owing(TODAY) == []
    assert places([buffer.take(head(0), TODAY)]) == [(METRO, 0)]


def test_a_flood_far_behind_goes_on_as_soon_as_the_others_leave_room() -> None:
    """It has paid for a day; whoever keeps to the rate goes first, and what room is left is the flood's."""
    day_us = 86_400 * 1_000_000
    sources = {t: source(0, t) for t in SOURCES}
    sources[METRO] = msgspec.structs.replace(sources[METRO], paid_us=NOON_MS * 1_000 + day_us)
    buffer = Buffer(0, sources, 10)
    buffer.add(fetch(METRO, [packed(0, *[b"x"] * 50)]))
    for n in range(5):
        buffer.add(fetch(BUS, [packed(n, b"x", ms=NOON_MS + n * 1_000)], end=n + 1))
    cycle = buffer.take(head(0), TODAY)
    assert [cycle.sources[s].topic for s in cycle.source] == [BUS] * 5 + [METRO] * 50
