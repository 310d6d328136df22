"""Blocks in one step change what they change one by one; a step is bounded as a cycle is."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.state import ZERO_HASH, Change, Head, Person
from stream.core import apply_all as module
from stream.core.apply import apply
from stream.core.apply_all import Step, apply_all
from tests.making import APPS, COMMANDS, METRO, NOON, TODAY, head, record, registered, remember
from tests.unit.test_apply import DAY, chain_of, chains


class Stored:
    """What a shard's Redis holds."""

    def __init__(self) -> None:
        self.head = head(seq=-1, hash=ZERO_HASH)
        self.persons: dict[str, Person] = {}
        self.members: dict[int, set[int]] = {}

    def take(self, change: Change) -> None:
        assert change.prev == self.head.hash
        self.head = change.head
        self.persons |= change.persons
        remember(self.members, change)


@settings(max_examples=100)
@given(chains(), st.data())
def test_however_a_history_is_cut_into_steps_the_state_is_the_same(chain: list, data: st.DataObject) -> None:
    """Over years, with expiries and generations that begin and end within one step."""
    single, steps = Stored(), Stored()
    for offset, block in chain:
        single.take(apply(block, single.head, single.persons, offset))
    begin = 0
    while begin < len(chain):
        end = data.draw(st.integers(begin + 1, len(chain)))
        step = Step(steps.head)
        for offset, block in chain[begin:end]:
            step.add(offset, block)
        needed = {uid: steps.persons[uid] for uid in step.touched() if uid in steps.persons}
        copied = msgspec.msgpack.encode(needed)
        change = apply_all(step.found, steps.head, needed)
        assert msgspec.msgpack.encode(needed) == copied, "apply_all changed its input"
        assert change.blocks == [block.hash for _, block in chain[begin:end]]
        steps.take(change)
        begin = end
    assert vars(steps) == vars(single)


def test_generations_that_begin_and_end_within_a_step_are_not_dropped_from_redis() -> None:
    """Or a rebuild over years, in a step or two, would name each of their days 256 times."""
    chain = chain_of([[(days, METRO, record("n", NOON + days * DAY))] for days in range(0, 900, 12)])
    offset, block = chain[0]
    first = apply(block, head(seq=-1, hash=ZERO_HASH), {}, offset)
    change = apply_all(chain[1:], first.head, first.persons)
    assert sum(map(len, change.members.values())) == 2, "those of the last day"
    assert TODAY in change.retired_days
    assert max(change.retired_days) == TODAY + 1, "the newest that can have been stored before"


def test_one_block_is_the_same_step_as_its_own_change() -> None:
    [(offset, block)], start = chain_of([[(0, METRO, record())]]), head(seq=-1, hash=ZERO_HASH)
    one, many = apply(block, start, {}, offset), apply_all([(offset, block)], start, {})
    one.retired_days = list(one.retired_days)
    assert many == one


@pytest.mark.parametrize("limit", ["RECOVERY_BLOCKS_MAX", "RECOVERY_ROWS_MAX", "RECOVERY_BYTES_MAX"])
def test_a_step_ends_at_each_limit_and_takes_a_block_that_is_larger(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    [(_, block)] = chain_of([[(0, METRO, record())]])
    size = {"RECOVERY_BYTES_MAX": block.rows.get_total_buffer_size()}.get(limit, 1)
    step = Step(Head())
    monkeypatch.setattr(module, limit, size - 1)
    assert step.has_room(block), "or a recovery would never go on"
    monkeypatch.setattr(module, limit, 2 * size)
    for offset in range(2):
        assert step.has_room(block)
        step.add(offset, block)
    for not_enough in (2 * size, 3 * size - 1):
        monkeypatch.setattr(module, limit, not_enough)
        assert not step.has_room(block)


def test_a_step_knows_which_block_is_due() -> None:
    step = Step(head())
    chain = chain_of([[(0, METRO, record())]] * 2)
    assert (step.tip, step.next_seq) == (head().hash, head().seq + 1)
    for number, (offset, block) in enumerate(chain, 2):
        step.add(offset, block)
        assert (step.tip, step.next_seq) == (block.hash, head().seq + number)


@pytest.mark.parametrize("place", [0, 1, 2, None])
def test_a_registry_that_changes_anywhere_in_a_step_has_changed(place: int | None) -> None:
    cycles = [[(0, METRO, record(f"n{n}"))] for n in range(3)]
    if place is not None:
        said = msgspec.structs.replace(APPS["metro"], operator="another")
        cycles[place] = [(0, COMMANDS, registered(said))]
    change = apply_all(chain_of(cycles), head(seq=-1, hash=ZERO_HASH), {})
    assert change.registry == (place is not None)
