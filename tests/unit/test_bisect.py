"""A record on which the decision fails gets internal_error, and nobody else; many of them stop the worker."""

from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.block import Block, genesis_block
from schemas.formats import NEWEST
from schemas.limits import FAIR_ROWS_S
from schemas.state import Person
from schemas.topics import COMMANDS
from schemas.verdicts import TABLE, Verdict
from sinks.ports import Snapshot
from stream.core.cycle_input import Buffer, Cycle
from stream.core.decide import decide
from stream.core.read import read_records
from stream.core.record_rows import bytes_hash
from stream.engine import bisect
from tests.making import (
    METRO,
    NOON,
    TODAY,
    TOPIC_IDS,
    adoption,
    cycle,
    fetch,
    head,
    platform,
    record,
    rules,
    source,
    uid,
)
from tests.unit.fair_time import unreadable
from tests.unit.test_decide import MADE, decided, decided_cycle, verdicts


def with_failures(monkeypatch: pytest.MonkeyPatch, bad: set[int], count: int) -> Block:
    """`decide_each` where the decision raises on records with these numbers."""

    def failing(place, state, taken: Cycle, reading, *rest: object) -> Block:
        wanted = {f"{NOON:%Y%m%d}-n{n}" for n in bad}
        if wanted.intersection(reading.reports.report_id):
            raise ZeroDivisionError
        return decide(place, state, taken, reading, *rest)

    monkeypatch.setattr(bisect, "decide", failing)
    monkeypatch.setattr(bisect, "log", Mock())
    taken = cycle(*[(METRO, record(f"n{n}", activity={"distance_m": 1})) for n in range(count)])
    reading = read_records(taken, rules(), platform().dedupe_key, NEWEST)
    return bisect.decide_each(platform(), head(), taken, reading, Snapshot(b"", {}, set()), 0)


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 29), max_size=bisect.INTERNAL_ERRORS_MAX))
def test_exactly_the_records_that_break_the_decision_get_internal_error(bad: set[int]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        block = with_failures(monkeypatch, bad, 30)
    expected = ["internal_error" if n in bad else "credited" for n in range(30)]
    assert verdicts(block) == expected
    values = [record(f"n{n}", activity={"distance_m": 1}) for n in range(30)]
    kept = [(len(value), bytes_hash(value, platform().dedupe_key)) for value in values]
    rows = block.rows.to_pylist()
    assert [(r["bytes_size"], r["bytes_hash"]) for r in rows] == [
        kept[n] if n in bad else (0, "") for n in range(30)
    ]
    assert [bool(r["uid"]) for r in rows] == [n not in bad for n in range(30)]


def test_more_broken_records_than_the_limit_stop_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(bisect.OperatorError):
        with_failures(monkeypatch, set(range(bisect.INTERNAL_ERRORS_MAX + 1)), 30)


def test_a_decision_that_fails_on_every_input_stops_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Block:
        raise ZeroDivisionError

    monkeypatch.setattr(bisect, "decide", broken)
    monkeypatch.setattr(bisect, "log", Mock())
    taken = cycle((METRO, record()))
    reading = read_records(taken, rules(), platform().dedupe_key, NEWEST)
    with pytest.raises(bisect.OperatorError):
        bisect.decide_each(platform(), head(), taken, reading, Snapshot(b"", {}, set()), 0)


def test_every_verdict_of_the_table_is_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = set(MADE) | {Verdict(genesis_block("p", 0, {}, 0).rows.column("verdict")[0].as_py())}
    expiring = decided((METRO, record()), persons={uid(): Person({TODAY - 1: 5})})
    reached.add(Verdict(expiring.rows.column("verdict")[0].as_py()))
    reached |= {Verdict(v) for v in with_failures(monkeypatch, {0}, 1).rows.column("verdict").to_pylist()}
    assert Verdict.INTERNAL_ERROR in reached
    monkeypatch.undo()
    buffer = Buffer(0, {METRO: source(0)}, FAIR_ROWS_S)
    buffer.add(fetch(METRO, [unreadable(0, 3)]))
    lossy = decided((COMMANDS, adoption(METRO, TOPIC_IDS[METRO], 12)))
    for block in (decided_cycle(buffer.take(head(), TODAY), head()), lossy):
        reached |= {Verdict(v) for v in block.rows.column("verdict").to_pylist()}
    assert reached == set(TABLE)
