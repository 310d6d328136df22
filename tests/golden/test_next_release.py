"""The golden ledger of format 1 in the hands of the next release, which reads it as format 2 and goes on."""

import functools
from itertools import pairwise

import pytest

from schemas.block import NewerFormat
from schemas.verdicts import CODES
from tests.golden import ledger, scenario
from tests.golden.ledger import State, Written, decided, opened, written
from tests.golden.scenario import COMMANDS, LABELS, METRO, Turn
from tests.making import NOON, record, uid
from tests.releases.next import next_release
from tests.releases.release import PRESENT

OLD = ledger.read(ledger.FOLDER / "format_1")
PAUSE = (COMMANDS, b'{"version":1,"kind":"pause","by":"li"}')
LATER = NOON + 60 * scenario.DAY


@functools.cache
def gone_on() -> tuple[list[Turn], list[Written]]:
    """The same ledger, and behind it what the next release decides: before format 2 begins, and in it."""
    story = scenario.story()
    names_it = [(METRO, record(f"names-{n}", LATER, kind="pause")) for n in range(2)]
    story.turn(names_it[0], PAUSE)
    story.turn((COMMANDS, scenario.encoded(scenario.FormatCommand(number=2, release="0.3", **LABELS))))
    story.turn((COMMANDS, scenario.encoded(scenario.FormatCommand(number=1, release="0.2", **LABELS))))
    story.turn((METRO, record("in-format-2", LATER, uid=uid(0, 4))), names_it[1], PAUSE)
    story.turn((METRO, record("paused", LATER)))
    blocks = list(decided(next_release(), story.turns, opened(next_release(), OLD.records)))
    return story.turns, OLD.records + [written(block) for block in blocks[len(OLD.records) :]]


def test_what_was_written_in_format_1_is_upcast_folds_and_is_decided_again() -> None:
    release = next_release()
    chain, state = opened(release, OLD.records), State(release)
    for offset, block in enumerate(chain):
        assert block.format == 1
        assert block.rows.schema.names == list(release["schemas.formats"].COLUMNS)
        state.take(block, offset)
    assert state.told() == OLD.state
    assert any(late for block in chain for late in block.rows.column("late_s").to_pylist()), "worked out"
    for before, again in zip(chain, decided(release, OLD.turns, chain), strict=True):
        assert again.rows.to_pylist() == before.rows.to_pylist()
        assert again.format == (2 if again.meta.genesis else 1), "a new platform begins with its newest"


def test_until_a_command_says_so_the_next_release_writes_what_this_one_writes() -> None:
    chain = opened(PRESENT, OLD.records)
    again = decided(next_release(), OLD.turns, opened(next_release(), OLD.records))
    for ours, theirs in list(zip(chain, again, strict=True))[1:]:
        assert opened_by_us(written(theirs)).rows == ours.rows


def opened_by_us(record: Written):
    found = PRESENT["schemas.ledger_record"].LedgerRecord(
        record.prev, record.hash, record.value, record.release
    )
    return PRESENT["schemas.block"].open_block(found)


def test_the_ledger_of_the_next_release_is_of_two_formats() -> None:
    turns, records = gone_on()
    chain = opened(next_release(), records)
    new = chain[len(OLD.records) :]
    assert [block.format for block in new] == [1, 1, 2, 2, 2]
    told = [[CODES[code] for code in block.rows.column("verdict").to_pylist()] for block in new]
    assert told == [
        ["malformed", "malformed"],
        ["command_applied"],
        ["forbidden_operation"],
        ["credited", "forbidden_operation", "command_applied"],
        ["app_not_active"],
    ]
    for before, again in zip(chain[1:], list(decided(next_release(), turns, chain))[1:], strict=True):
        assert again.rows.to_pylist() == before.rows.to_pylist()
        assert again.format == before.format
    assert all(earlier.format <= later.format for earlier, later in pairwise(chain))


def test_this_release_reads_it_up_to_there_and_names_the_one_that_goes_on() -> None:
    _, records = gone_on()
    with pytest.raises(NewerFormat) as raised:
        opened(PRESENT, records)
    assert (raised.value.format, raised.value.release) == (2, "0.3")
    assert len(opened(PRESENT, records[: len(OLD.records) + 2])) == len(OLD.records) + 2
