"""A cycle's bytes as a decision needs them: what the last row says, if it stands in topic `commands`."""

from schemas.formats import NEWEST
from schemas.kinds.clock import ClockCommand
from schemas.limits import FAIR_ROWS_S
from schemas.refusal import Refusal
from schemas.topics import COMMANDS
from schemas.verdicts import Verdict
from stream.core.cycle_input import Buffer, Cycle
from stream.core.read import Reading, read_records
from tests.making import METRO, NOON, TODAY, clock, cycle, fetch, head, platform, record, source, uid
from tests.unit.fair_time import refused

REFUSAL = Refusal(Verdict.INTERNAL_ERROR, "")


def reading_of(taken: Cycle) -> Reading:
    place = platform()
    return read_records(taken, place.rules, place.dedupe_key, NEWEST)


def test_a_command_is_no_command_once_its_own_row_is_refused() -> None:
    reading = reading_of(cycle((METRO, record("a")), (METRO, record("b")), (COMMANDS, clock(NOON))))
    assert isinstance(reading.command, ClockCommand)
    for others in ({}, {0: REFUSAL}, {1: REFUSAL}, {0: REFUSAL, 1: REFUSAL}):
        assert reading.without(others).command == reading.command
    assert reading.without({2: REFUSAL}).command is None


def test_a_batch_of_commands_that_cannot_be_read_is_refused_as_any_other() -> None:
    buffer = Buffer(0, {COMMANDS: source(0, COMMANDS)}, FAIR_ROWS_S)
    buffer.add(fetch(COMMANDS, [refused(0, 3)]))
    reading = reading_of(buffer.take(head(), TODAY))
    assert reading.reports.refused == {
        0: Refusal(Verdict.UNREADABLE_BATCH, "batch: none: more records than a batch may have")
    }
    assert reading.command is None


def test_what_stands_in_topic_commands_is_a_command_or_nothing() -> None:
    """A report there is none, and a command elsewhere is none."""
    for topic, value in ((COMMANDS, record()), (METRO, clock(NOON))):
        reading = reading_of(cycle((METRO, record("b")), (topic, value)))
        assert list(reading.reports.refused) == [1]
        assert reading.command is None
        assert reading.uids == [uid()]
