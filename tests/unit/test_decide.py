"""The decision: total, pure, one row for each record, verdicts in the order of their table."""

import copy
import datetime as dt
import functools
import json
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.block import Block
from schemas.formats import NEWEST
from schemas.limits import FUTURE_TOLERANCE_MS, LATE_WINDOW_DAYS, RECORD_BYTES_MAX
from schemas.report import day_of_date
from schemas.rules import PACKAGED, Rules, load_rules
from schemas.state import Head, Person
from schemas.topics import COMMANDS
from schemas.verdicts import CODES, REMEMBERS_ID, TAKES_CLAIM, TELLS_BALANCE, Verdict
from stream.core.cycle_input import Cycle
from stream.core.decide import decide
from stream.core.platform import Platform
from stream.core.read import read_records
from tests.making import (
    APPS,
    BUS,
    METRO,
    NOON,
    NOON_MS,
    SOURCES,
    TODAY,
    adoption,
    clock,
    cycle,
    head,
    platform,
    record,
    rules,
    source,
    uid,
    used_up,
)  # fmt: skip
from tests.unit.test_codec import values

ID_NUMBER = "44030519900101123X"
DAY = dt.timedelta(days=1)
CAP_MILLI = 1_000_000


def decided(
    *records: tuple,
    persons: dict[str, Person] | None = None,
    seen: set[int] | None = None,
    in_use: Rules | None = None,
    after: Head | None = None,
    simulated_clock: bool = True,
) -> Block:
    taken = cycle(*records, after=after)
    return decided_cycle(taken, after or head(), persons, seen, platform(in_use, simulated_clock))


def decided_cycle(
    taken: Cycle,
    after: Head,
    persons: dict[str, Person] | None = None,
    seen: set[int] | None = None,
    place: Platform | None = None,
) -> Block:
    place = place or platform()
    reading = read_records(taken, place.rules, place.dedupe_key, NEWEST)
    return decide(place, after, taken, reading, persons or {}, seen or set(), 3)


def verdicts(block: Block) -> list[str]:
    return [CODES[code] for code in block.rows.column("verdict").to_pylist()]


@functools.cache
def changed_rules(**changes: object) -> Rules:
    """The packaged rules with fields of metro's methodology ('m_') or of the exchange ('e_') changed."""
    base = load_rules(PACKAGED)
    of = {"m": base.methodologies["SZ-METRO"][0], "e": base.exchanges[0]}
    for name, value in changes.items():
        of[name[0]] = msgspec.structs.replace(of[name[0]], **{name[2:]: value})
    return Rules(base.bundle, [of["m"], *base.methodologies["SZ-BUS-BEV"]], [of["e"]])


def members(value: bytes, topic: str = METRO) -> set[int]:
    """What a record leaves behind when it is credited."""
    reading = read_records(cycle((topic, value)), rules(), platform().dedupe_key, NEWEST)
    return {reading.members.id[0], reading.members.claim[0]}


FUTURE = NOON + dt.timedelta(hours=6)
LATE = NOON - (LATE_WINDOW_DAYS + 1) * DAY
BEFORE_VALIDITY = NOON.replace(year=2022, month=8, day=17)
AFTER_VALIDITY = NOON.replace(year=2027, month=8, day=18)
NOT_YET = changed_rules(m_in_force_from=NOON.date() + DAY)
SUSPENDED = head(apps=APPS | {"metro": msgspec.structs.replace(APPS["metro"], active=False)})
STRICT = {"in_use": changed_rules(m_activity_max=500)}
FULL = {"persons": {uid(): used_up(CAP_MILLI)}}
NEARLY_FULL = {"persons": {uid(): used_up(CAP_MILLI - 1)}}
HOUSEHOLD = {"subject_type": "household"}
ELSEWHERE = {"region": "110000"}

# For each verdict a record that gets it, and what must stand beside it.
MADE: dict[Verdict, tuple[tuple, dict]] = {
    Verdict.TOO_LARGE: ((METRO, b"{" + b" " * RECORD_BYTES_MAX), {}),
    Verdict.MALFORMED: ((METRO, b'{"version":2,"kind":"report"'), {}),
    Verdict.UNSUPPORTED_VERSION: ((METRO, record(version=2, source_txn=ID_NUMBER)), {}),
    Verdict.PERSONAL_DATA: ((METRO, record(kind="transfer", source_txn=ID_NUMBER)), {}),
    Verdict.FORBIDDEN_OPERATION: ((METRO, record(kind="transfer", uid=uid(1))), {}),
    Verdict.MISROUTED: ((METRO, record(uid=uid(1))), {"after": SUSPENDED}),
    Verdict.APP_NOT_ACTIVE: ((METRO, record()), {"after": SUSPENDED, "seen": members(record())}),
    Verdict.DUPLICATE: ((METRO, record(at=FUTURE)), {"seen": members(record(at=FUTURE))}),
    Verdict.OCCURRED_IN_FUTURE: ((METRO, record(at=AFTER_VALIDITY)), {}),
    Verdict.OUTSIDE_VALIDITY: ((METRO, record(at=BEFORE_VALIDITY)), {}),
    Verdict.TOO_LATE: ((METRO, record(at=LATE, methodology="SZ-BUS-BEV")), {}),
    Verdict.METHODOLOGY_UNKNOWN: (
        (BUS, record(methodology="SZ-METRO", scene_id="metro-gate")), {"in_use": NOT_YET},
    ),
    Verdict.METHODOLOGY_NOT_IN_FORCE: ((METRO, record(scene_id="bus-reader")), {"in_use": NOT_YET}),
    Verdict.SCENE_NOT_GRANTED: ((METRO, record(scene_id="bus-reader", **ELSEWHERE)), {}),
    Verdict.OUT_OF_REGION: ((METRO, record(**ELSEWHERE)), STRICT),
    Verdict.ACTIVITY_INVALID: (
        (METRO, record()),
        STRICT | {"seen": members(record("other", source_txn="txn-a"))},
    ),
    Verdict.ALREADY_CLAIMED: (
        (METRO, record(**HOUSEHOLD)),
        {"seen": members(record("other", source_txn="txn-a"))},
    ),
    Verdict.RECORDED_ONLY: ((METRO, record(**HOUSEHOLD)), FULL),
    Verdict.CAP_REACHED: ((METRO, record()), FULL),
    Verdict.CREDITED_IN_PART: ((METRO, record()), NEARLY_FULL),
    Verdict.CREDITED: ((METRO, record()), {}),
    Verdict.COMMAND_APPLIED: ((COMMANDS, clock(NOON + DAY)), {}),
}  # fmt: skip


@pytest.mark.parametrize("verdict", MADE, ids=lambda v: v.code)
def test_a_record_that_qualifies_for_two_verdicts_gets_the_earlier(verdict: Verdict) -> None:
    """Each record of `MADE` qualifies for the verdict after its own as well, where both can be true."""
    value, beside = MADE[verdict]
    block = decided(value, **beside)
    assert verdicts(block) == [verdict.code]
    row = block.rows.to_pylist()[0]
    assert bool(row["id_member"]) == (verdict in REMEMBERS_ID)
    assert bool(row["claim_member"]) == (verdict in TAKES_CLAIM)
    assert bool(row["tells_balance"]) == (verdict in TELLS_BALANCE)


commands = st.sampled_from(
    [clock(NOON + DAY), clock(NOON - DAY), clock(NOON.replace(year=9999)), clock(NOON.replace(year=1)),
     record(), b"", b"{}",
     b'{"version":1,"kind":"clock","at":"9999-12-31T23:59:59-23:00"}', b"[" * 100_000,
     *[adoption(topic, name.ljust(22, "-"), first) for topic in (COMMANDS, METRO, "intake.none")
       for name in ("metro", "commands", "other") for first in (0, 5)]]
)  # fmt: skip
anything = st.tuples(st.sampled_from([METRO, BUS]), values) | st.tuples(st.just(COMMANDS), values | commands)


@settings(max_examples=250, deadline=None)
@given(st.lists(anything, min_size=1, max_size=12), st.booleans(), st.sampled_from([0, 5]), st.randoms())
def test_any_bytes_in_any_order_get_exactly_one_row_each(
    records: list[tuple], simulated: bool, seq: int, rng: random.Random
) -> None:
    place = platform(simulated_clock=simulated)
    state = head(seq=seq)
    persons = {uid(): used_up(rng.randrange(1, CAP_MILLI)), uid(0, 1): Person({TODAY - 3: 7, TODAY - 1: 8})}
    taken = cycle(*records, after=state)
    reading = read_records(taken, place.rules, place.dedupe_key, NEWEST)
    seen = {m for ms in reading.members.lookups.values() for m in ms if rng.random() < 0.2}
    before = copy.deepcopy((taken, reading.day, reading.members, persons, seen))
    block = decide(place, state, taken, reading, persons, seen, 3)
    assert copy.deepcopy((taken, reading.day, reading.members, persons, seen)) == before
    assert decide(place, state, taken, reading, persons, seen, 3).hash == block.hash
    rows = [row for row in block.rows.to_pylist() if row["source"] >= 0]
    rows = [row for row in rows if row["verdict"] != Verdict.DELETED_UNREAD]
    assert [(r["source"], r["offset"]) for r in rows] == list(zip(taken.source, taken.offset, strict=True))
    assert all(row["verdict"] in CODES for row in rows)
    assert all(row["points_milli"] >= 0 and row["reduction_mg"] >= 0 for row in rows)


def test_what_follows_a_far_clock_is_still_decided() -> None:
    first = decided((COMMANDS, clock(NOON.replace(year=9900))))
    assert verdicts(first) == ["command_applied"]
    after = head(first.meta.time_ms, clock_offset_ms=first.meta.clock_offset_ms)
    assert verdicts(decided((METRO, record()), after=after)) == ["too_late"]
    assert verdicts(decided((COMMANDS, clock(NOON.replace(year=9901))))) == ["forbidden_operation"]


def test_a_clock_moves_back_only_before_any_report_was_decided() -> None:
    later_ms = NOON_MS + 700 * 86_400_000
    now = head(later_ms, sources={COMMANDS: source(3, COMMANDS), METRO: source(1)})
    before = head(later_ms, sources={COMMANDS: source(3, COMMANDS), METRO: source(0)})
    back = decided((COMMANDS, clock(NOON)), after=before)
    assert verdicts(back) == ["command_applied"]
    assert back.meta.time_ms == NOON_MS
    assert verdicts(decided((COMMANDS, clock(NOON)), after=now)) == ["forbidden_operation"]
    both = decided((METRO, record(), later_ms), (COMMANDS, clock(NOON), later_ms + 1), after=head(later_ms))
    assert verdicts(both) == ["too_late", "forbidden_operation"]
    refused = decided((COMMANDS, clock(NOON + DAY)), simulated_clock=False)
    assert verdicts(refused) == ["forbidden_operation"]
    assert refused.meta.time_ms < NOON_MS + 1_000


@pytest.mark.parametrize("days", range(-4, 5))
def test_a_claim_binds_a_day_to_either_side_in_one_cycle_as_in_two(days: int) -> None:
    at = NOON - 5 * DAY
    one, other = record("a", at), record("b", at + days * DAY, source_txn="txn-a")
    expected = "already_claimed" if abs(days) <= 1 else "credited"
    assert verdicts(decided((METRO, one), (METRO, other))) == ["credited", expected]
    row = decided((METRO, one)).rows.to_pylist()[0]
    reading = read_records(cycle((METRO, other)), rules(), platform().dedupe_key, NEWEST)
    day = day_of_date(at.date())
    seen = {m for m in reading.members.lookups.get(day, []) if m in (row["id_member"], row["claim_member"])}
    assert verdicts(decided((METRO, other), seen=seen)) == [expected]
    unseen = {m for d, ms in reading.members.lookups.items() if d != day for m in ms} & {row["claim_member"]}
    assert not unseen, "a member of one day is met in another day's generation"


def test_claims_bind_within_a_person_and_methodology_and_ids_within_an_app() -> None:
    mine, yours = record("a"), record("b", uid=uid(0, 1), source_txn="txn-a")
    bus = record("a", methodology="SZ-BUS-BEV")
    assert verdicts(decided((METRO, mine), (METRO, yours), (BUS, bus))) == ["credited"] * 3


def test_the_edges_of_time_are_exact() -> None:
    ahead = dt.timedelta(milliseconds=FUTURE_TOLERANCE_MS)
    assert verdicts(decided((METRO, record(at=NOON + ahead)))) == ["credited"]
    assert verdicts(decided((METRO, record(at=NOON + ahead + dt.timedelta(milliseconds=1))))) == [
        "occurred_in_future"
    ]
    oldest = (NOON - LATE_WINDOW_DAYS * DAY).replace(hour=0)
    assert verdicts(decided((METRO, record(at=oldest)))) == ["credited"]
    assert verdicts(decided((METRO, record(at=oldest - dt.timedelta(milliseconds=1))))) == ["too_late"]


def test_a_lot_expires_at_24_00_in_shanghai() -> None:
    midnight_ms = NOON_MS + 12 * 3_600_000
    persons = {uid(): Person({TODAY: 9})}
    for ms, expected in ((midnight_ms - 1, ["credited"]), (midnight_ms, ["expired", "credited"])):
        block = decided((METRO, record(), ms), persons=persons, after=head(ms - 1))
        assert verdicts(block) == expected
    assert block.rows.column("points_milli").to_pylist() == [-9, 46_800]
    assert block.rows.column("balance_milli").to_pylist() == [0, 46_800]


@settings(max_examples=100, deadline=None)
@given(
    trips=st.lists(st.tuples(st.integers(1, 80_000), st.booleans()), min_size=1, max_size=12),
    used=st.integers(0, CAP_MILLI),
    rng=st.randoms(),
)
def test_points_of_a_day_are_the_cap_or_the_sum_in_any_order(
    trips: list, used: int, rng: random.Random
) -> None:
    full = {n: d * 468 // 10 if metro else d * 269 // 10 for n, (d, metro) in enumerate(trips)}
    records = [
        (METRO if metro else BUS,
         record(f"n{n}", methodology="SZ-METRO" if metro else "SZ-BUS-BEV", activity={"distance_m": d}))
        for n, (d, metro) in enumerate(trips)
    ]  # fmt: skip
    rng.shuffle(records)
    persons = {uid(): used_up(used)} if used else {}
    rows = decided(*records, persons=persons).rows.to_pylist()
    assert sum(row["points_milli"] for row in rows) == min(CAP_MILLI - used, sum(full.values()))
    assert {int(row["report_id"].split("-n")[1]): row["reduction_mg"] for row in rows} == full
    assert rows[-1]["balance_milli"] == used + sum(row["points_milli"] for row in rows)
    assert all((row["expiry_day"] > 0) == (row["points_milli"] > 0) for row in rows)


def test_commands_are_no_reports_and_reports_no_commands() -> None:
    block = decided((COMMANDS, record()), (METRO, clock(NOON + DAY)))
    assert verdicts(block) == ["malformed"]
    assert block.rows.column("occurred_ms").to_pylist() == [0]
    assert verdicts(decided((METRO, clock(NOON + DAY)))) == ["forbidden_operation"]
    assert verdicts(decided((COMMANDS, json.dumps({"version": 1, "at": NOON.isoformat()}).encode()))) == [
        "malformed"
    ]


assert set(SOURCES) == {COMMANDS, METRO, BUS}
