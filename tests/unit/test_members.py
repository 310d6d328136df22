"""What is remembered and looked up: 0 stands for nothing, is looked up nowhere, and is nobody's hash."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from schemas.rules import Rules
from stream.core import members
from stream.core.read import Reading, read_records
from tests.making import METRO, NOON, TODAY, cycle, head, platform, record, rules
from tests.unit.test_decide import DAY, changed_rules

BOTH = changed_rules(m_claim_key=("source_txn", "occurred_at"))


def reading(*values: bytes, by: Rules | None = None) -> Reading:
    taken = cycle(*((METRO, value) for value in values))
    return read_records(taken, by or rules(), platform().dedupe_key, head().format)


class Digest(SimpleNamespace):
    """A hash whose digest is known beforehand."""

    def copy(self) -> Any:
        return self

    def update(self, text: bytes) -> None:
        """Nothing changes it."""

    def digest(self) -> bytes:
        return self.number.to_bytes(8, "little", signed=True)


@pytest.mark.parametrize(("hashed", "member"), [(0, 1), (1, 1), (-1, -1), (2, 2)])
def test_no_member_is_0_which_stands_for_none(hashed: int, member: int) -> None:
    assert members._hashes(["a", ""], Digest(number=hashed)).tolist() == [member, 0]  # type: ignore[arg-type]


@pytest.mark.parametrize(("raw", "member"), [(TODAY, 1), (TODAY ^ 1, 1), (TODAY ^ -1, -1), (0, 0)])
def test_no_claim_of_a_day_is_0_but_that_of_none(raw: int, member: int) -> None:
    assert members._on(np.array([raw]), np.array([TODAY])).tolist() == [member]


@pytest.mark.parametrize("raw", [1, -1])
def test_a_hash_beside_0_is_a_claim_like_any_other(raw: int) -> None:
    assert members._on(np.array([raw]), np.array([TODAY])).tolist() == [raw ^ TODAY]
    ids, days, newest = np.array([raw, raw]), np.array([TODAY, TODAY]), TODAY
    lookups = members._lookups(ids, days, np.array([raw, 0]), newest)
    assert lookups == {TODAY: [raw, raw, raw ^ TODAY], TODAY - 1: [raw ^ (TODAY - 1)]}


def test_what_is_no_report_is_looked_up_nowhere() -> None:
    read = reading(
        b"rubbish", record("a", at=NOON - 3 * DAY), b"", record("b", at=NOON - 3 * DAY, source_txn=None)
    )
    day, (no_id, a, none, b) = TODAY - 3, read.members.id
    assert (no_id, none) == (0, 0)
    assert set(read.members.lookups) == {day - 1, day, day + 1}
    _, claim, _, no_claim = read.members.claim
    assert no_claim == 0
    assert read.members.lookups[day] == [a, b, claim]
    assert read.members.lookups[day - 1] == [read.members.claim_before[1]]
    assert read.members.lookups[day + 1] == [read.members.claim_after[1]]


def test_rows_that_have_no_report_spoil_none_of_their_own_day() -> None:
    """A day of 0, as rubbish has it, is a day like any other."""
    ids, days = np.array([0, 7]), np.array([TODAY, TODAY])
    assert members._lookups(ids, days, np.array([0, 9]), TODAY)[TODAY] == [7, 9 ^ TODAY]


def test_nothing_is_looked_up_beyond_the_newest_day_that_a_report_can_have() -> None:
    assert set(reading(record(at=NOON)).members.lookups) == {TODAY - 1, TODAY}
    assert set(reading(record(at=NOON - DAY)).members.lookups) == {TODAY - 2, TODAY - 1, TODAY}


def test_a_claim_of_several_fields_needs_each_of_them() -> None:
    both = reading(record("a"), record("b", source_txn="txn-a"), record("c", source_txn=None), by=BOTH)
    a, b, none = both.members.claim
    assert a == b != 0
    assert none == 0
    later = reading(record("d", at=NOON + DAY / 86_400, source_txn="txn-a"), by=BOTH)
    assert later.members.claim[0] not in (a, 0)
    assert reading(record("e", methodology="SZ-NEW")).members.claim == [0], "nobody knows what makes it one"


def test_a_report_without_a_claim_is_looked_up_on_its_own_day_alone() -> None:
    read = reading(record(source_txn=None))
    assert read.members.lookups == {TODAY: read.members.id}
