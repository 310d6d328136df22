"""Blocks and what they do to the state: one fold however cut, sums that agree, a hash that covers all."""

import datetime as dt

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.block import Block, Meta, Span, genesis_block, make_block, open_block
from schemas.formats import NEWEST, empty_columns
from schemas.limits import FAIR_ROWS_S, LATE_WINDOW_DAYS
from schemas.report import shanghai_day
from schemas.rules import CAPS_KEPT_DAYS
from schemas.state import ZERO_HASH, Head, Person, Source
from schemas.verdicts import Verdict
from stream.core.apply import apply, touched
from stream.core.decide import decide
from stream.core.read import read_records
from tests.making import BUS, METRO, NOON, NOON_MS, TODAY, cycle, head, platform, record, remember, uid

DAY = dt.timedelta(days=1)
DAY_MS = 86_400_000
CAP_MILLI = 1_000_000


def chain_of(cycles: list[list[tuple]]) -> list[tuple[int, Block]]:
    """Decides cycles of (days later, topic, record) one after the other, state and all."""
    state, persons, members, chain = head(seq=-1, hash=ZERO_HASH), {}, {}, []
    for rows in cycles:
        records = [(topic, value, NOON_MS + days * DAY_MS) for days, topic, value in rows[:1]]
        records += [(topic, value, records[0][2]) for _, topic, value in rows[1:]]
        taken, place = cycle(*records, after=state), platform()
        reading = read_records(taken, place.rules, place.dedupe_key, NEWEST)
        seen = {m for day, ms in reading.members.lookups.items() for m in ms if m in members.get(day, ())}
        block = decide(place, state, taken, reading, persons, seen, 0)
        change = apply(block, state, persons, len(chain))
        chain.append((len(chain), block))
        state = change.head
        persons = persons | change.persons
        remember(members, change)
    return chain


@st.composite
def chains(draw: st.DrawFn) -> list[tuple[int, Block]]:
    """Some cycles over three years: persons, apps, repetitions, long trips, late reports."""
    days, cycles = 0, []
    for _ in range(draw(st.integers(1, 6))):
        days += draw(st.sampled_from([0, 0, 1, 3, 12, 400]))
        rows = []
        for _ in range(draw(st.integers(1, 6))):
            at = NOON + (days - draw(st.integers(0, 10))) * DAY
            said = {
                "uid": uid(0, draw(st.integers(0, 2))),
                "activity": {"distance_m": draw(st.integers(1, 30_000))},
                "source_txn": f"t{draw(st.integers(0, 9))}",
            }
            rows.append((days, METRO, record(f"n{draw(st.integers(0, 20))}", at, **said)))
        cycles.append(rows)
    return chain_of(cycles)


def start() -> Head:
    return head(seq=-1, hash=ZERO_HASH)


@settings(max_examples=60, deadline=None)
@given(chains(), st.data())
def test_a_prefix_and_then_the_rest_is_the_fold_of_all(chain: list, data: st.DataObject) -> None:
    """Each block needs only the head and the persons that it touches, whoever made them."""
    state, persons = start(), {}
    cut = data.draw(st.integers(0, len(chain)))
    for offset, block in [*chain[:cut], *chain[cut:]]:
        if offset == cut:  # another worker takes over, with what the first one stored
            state = msgspec.json.decode(msgspec.json.encode(state), type=Head)
            persons = msgspec.msgpack.decode(msgspec.msgpack.encode(persons), type=dict[str, Person])
        needed = {uid: persons[uid] for uid in touched(block) if uid in persons}
        copied = msgspec.msgpack.encode(needed)
        change = apply(open_block(block.record), state, needed, offset)
        assert msgspec.msgpack.encode(needed) == copied, "apply changed its input"
        assert change == apply(block, state, persons, offset)
        state, persons = change.head, persons | change.persons
    whole = fold_from(chain)
    assert (state, persons) == whole


def fold_from(chain: list) -> tuple[Head, dict[str, Person]]:
    state, persons = start(), {}
    for offset, block in chain:
        change = apply(block, state, persons, offset)
        state, persons = change.head, persons | change.persons
    return state, persons


@settings(max_examples=60, deadline=None)
@given(chains())
def test_points_add_up_and_no_cap_is_passed(chain: list) -> None:
    _, persons = fold_from(chain)
    balance_milli: dict[str, int] = {}
    by_day: dict[tuple[str, int], int] = {}
    for _, block in chain:
        for row in block.rows.to_pylist():
            balance_milli[row["uid"]] = balance_milli.get(row["uid"], 0) + row["points_milli"]
            if row["points_milli"]:
                assert row["balance_milli"] == balance_milli[row["uid"]]
            if row["points_milli"] > 0:
                key = row["uid"], shanghai_day(row["occurred_ms"])
                by_day[key] = by_day.get(key, 0) + row["points_milli"]
    assert {who: p.balance_milli() for who, p in persons.items()} == {
        w: p for w, p in balance_milli.items() if w in persons
    }
    assert all(lot > 0 for p in persons.values() for lot in p.lots.values())
    assert all(points_milli <= CAP_MILLI for points_milli in by_day.values())
    assert all(used <= CAP_MILLI for p in persons.values() for used in p.used_caps.values())


@settings(max_examples=60, deadline=None)
@given(chains())
def test_generations_are_kept_as_long_as_their_reports_may_come_and_no_longer(chain: list) -> None:
    state, persons, kept = start(), {}, {}
    for offset, block in chain:
        change = apply(block, state, persons, offset)
        state, persons = change.head, persons | change.persons
        for day in change.retired_days:
            kept.pop(day, None)
        for day, members in change.members.items():
            kept.setdefault(day, set()).update(members)
        today = shanghai_day(state.time_ms)
        assert all(day >= today - LATE_WINDOW_DAYS - 1 for day in kept)
        rows = [row for _, b in chain[: offset + 1] for row in b.rows.to_pylist() if row["id_member"]]
        days = {shanghai_day(row["occurred_ms"]) for row in rows}
        assert {day for day in days if day >= today - LATE_WINDOW_DAYS - 1} == set(kept)


def test_a_jump_of_the_clock_retires_what_its_own_block_remembered() -> None:
    block = _one_row(time_ms=NOON_MS + 40 * DAY_MS, occurred_ms=NOON_MS, id_member=7)
    assert apply(block, head(seq=-1, hash=ZERO_HASH), {}, 0).members == {TODAY: [7]}
    after = head(seq=0, hash=block.hash)
    jump = make_block(block.hash, msgspec.structs.replace(block.meta, seq=1), block.rows.to_pydict(), NEWEST)
    change = apply(jump, after, {}, 1)
    assert TODAY in change.retired_days
    assert change.members == {}


def test_a_block_that_does_not_follow_the_head_is_never_applied() -> None:
    with pytest.raises(AssertionError, match="does not follow"):
        apply(_one_row(), head(), {}, 0)


def test_a_block_of_another_format_than_the_one_in_force_is_never_applied() -> None:
    """A writer that goes back behind a format, or ahead of its command, is none of ours."""
    block = make_block(b"h" * 32, Meta("test", 0, 6, [], NOON_MS, 0, 0, ""), empty_columns(1), NEWEST)
    apply(block, head(format=NEWEST), {}, 0)
    with pytest.raises(AssertionError, match=f"of format {NEWEST}, where {NEWEST + 1} is in force"):
        apply(block, head(format=NEWEST + 1), {}, 0)


def test_an_expiry_that_does_not_match_its_lot_is_never_applied() -> None:
    block = _one_row(verdict=int(Verdict.EXPIRED), uid="u", points_milli=-5, expiry_day=3)
    for person in (Person(), Person({3: 6})):
        with pytest.raises(AssertionError, match="must empty its lot"):
            apply(block, start(), {"u": person}, 0)
    assert apply(block, start(), {"u": Person({3: 5})}, 0).persons == {"u": Person()}


def _one_row(time_ms: int = NOON_MS, **said: object) -> Block:
    columns = empty_columns(1) | {name: [value] for name, value in said.items()}
    return make_block(ZERO_HASH, Meta("test", 0, 0, [], time_ms, 0, 0, ""), columns, NEWEST)


def test_a_block_follows_by_its_number_as_by_its_hash() -> None:
    [(_, first), (_, second)] = chain_of([[(0, METRO, record("a"))], [(0, METRO, record("b"))]])
    before = apply(first, head(seq=-1, hash=ZERO_HASH), {}, 0).head
    persons = apply(first, head(seq=-1, hash=ZERO_HASH), {}, 0).persons
    assert apply(second, before, persons, 1).head.seq == before.seq + 1
    for other in ({"hash": b"?" * 32}, {"seq": before.seq + 1}, {"seq": before.seq - 1}):
        with pytest.raises(AssertionError, match="does not follow"):
            apply(second, msgspec.structs.replace(before, **other), persons, 1)


@pytest.mark.parametrize("seq", [-1, 0, 1])
def test_a_block_is_of_the_format_in_force_but_the_first_which_brings_its_own(seq: int) -> None:
    chain = chain_of([[(0, METRO, record(f"n{n}"))] for n in range(seq + 2)])
    state, persons = head(seq=-1, hash=ZERO_HASH), {}
    for offset, block in chain[:-1]:
        change = apply(block, state, persons, offset)
        state, persons = change.head, persons | change.persons
    assert state.seq == seq
    other = msgspec.structs.replace(state, format=state.format + 7)
    if seq < 0:
        assert apply(chain[-1][1], other, persons, 9).head.format == chain[-1][1].format
        return
    with pytest.raises(AssertionError, match="a block of format"):
        apply(chain[-1][1], other, persons, 9)


def test_what_counts_against_a_cap_is_kept_as_long_as_reports_of_its_day_may_come() -> None:
    [(_, block)] = chain_of([[(0, METRO, record())]])
    oldest = TODAY - CAPS_KEPT_DAYS
    before = Person({TODAY + 9: 3}, {oldest - 1: 1, oldest: 1, oldest + 1: 1})
    after = apply(block, head(seq=-1, hash=ZERO_HASH), {uid(): before}, 0).persons[uid()]
    assert set(after.used_caps) == {oldest, oldest + 1, TODAY}
    assert set(before.used_caps) == {oldest - 1, oldest, oldest + 1}, "not modified"


def test_a_span_of_nothing_is_a_source_in_a_first_block_alone() -> None:
    nothing = Span(METRO, "m".ljust(22, "-"), 0, 0)
    said = {"shards": 4, "dedupe_key": "00" * 16, "simulated_clock": True, "fair_rows_s": FAIR_ROWS_S}
    first = genesis_block("test", 0, said, NOON_MS, [nothing])
    known = apply(first, Head(), {}, 0).head
    assert (known.seq, known.sources) == (0, {METRO: Source(nothing.topic_id, 0)})
    for seq in (0, 1):
        state = msgspec.structs.replace(known, seq=seq)
        meta = msgspec.structs.replace(first.meta, seq=seq + 1, sources=[Span(BUS, "b".ljust(22, "-"), 5, 5)])
        assert (
            apply(make_block(state.hash, meta, empty_columns(1), NEWEST), state, {}, 1).head.sources
            == known.sources
        )
