"""Adoption: a source goes on elsewhere, by the platform's word alone, and what is lost is named."""

import datetime as dt
import json

import msgspec
import pytest

from schemas.block import Block
from schemas.limits import FAIR_ROWS_S, OFFSET_MAX
from schemas.state import Head, Source
from schemas.topics import COMMANDS
from schemas.verdicts import Verdict
from stream.core.apply import apply
from stream.core.cycle_input import Buffer
from tests.making import (
    BUS,
    METRO,
    NOON,
    SOURCES,
    TODAY,
    TOPIC_IDS,
    adoption,
    clock,
    fetch,
    head,
    packed,
    record,
    source,
)  # fmt: skip
from tests.unit.test_decide import decided, decided_cycle, verdicts

OTHER_ID = "another".ljust(22, "-")
STANDING = head(sources={COMMANDS: source(0, COMMANDS), BUS: source(3, BUS), METRO: source(7, METRO)})


def adopted(topic: str, topic_id: str, first: int, after: Head = STANDING) -> tuple[list[dict], Head]:
    """The rows of the adoption, and the head after it."""
    block = decided((COMMANDS, adoption(topic, topic_id, first)), after=after)
    return named_rows(block), apply(block, after, {}, 9).head


def named_rows(block: Block) -> list[dict]:
    spans = block.meta.sources
    return [
        row | {"topic": spans[row["source"]].topic, "topic_id": spans[row["source"]].topic_id}
        for row in block.rows.to_pylist()
    ]


def told(row: dict) -> tuple:
    return tuple(row[name] for name in ("topic", "topic_id", "verdict", "offset", "last_offset"))


def test_an_adoption_behind_a_loss_names_each_lost_offset_and_goes_on_there() -> None:
    [lost, said], after = adopted(METRO, TOPIC_IDS[METRO], 12)
    assert told(lost) == (METRO, TOPIC_IDS[METRO], Verdict.DELETED_UNREAD, 7, 11)
    assert told(said) == (COMMANDS, TOPIC_IDS[COMMANDS], Verdict.COMMAND_APPLIED, 0, 0)
    assert (said["by"], said["reason"], lost["by"]) == ("li", "disk lost", "")
    assert after.sources == STANDING.sources | {METRO: source(12), COMMANDS: source_at_day(1, COMMANDS)}


def source_at_day(following: int, topic: str) -> Source:
    """As a cycle of one record leaves it."""
    return msgspec.structs.replace(source(following, topic), day=TODAY, day_rows=1)


def test_an_adoption_under_another_id_begins_wherever_it_says() -> None:
    """All that the former topic still held is lost; how much that was nobody can know."""
    for first in (0, 3, 7, 1_000):
        [lost, *skipped, _], after = adopted(METRO, OTHER_ID, first)
        assert told(lost) == (METRO, TOPIC_IDS[METRO], Verdict.DELETED_UNREAD, 7, OFFSET_MAX)
        gone = [(METRO, OTHER_ID, Verdict.DELETED_UNREAD, 0, first - 1)] if first else []
        assert [told(row) for row in skipped] == gone, "each offset of the new one, too"
        assert (after.sources[METRO].topic_id, after.sources[METRO].next) == (OTHER_ID, first)
        assert after.sources[BUS] == STANDING.sources[BUS]


def test_an_adoption_never_goes_back_to_what_is_decided() -> None:
    [row], after = adopted(METRO, TOPIC_IDS[METRO], 6)
    assert told(row)[2] == Verdict.FORBIDDEN_OPERATION
    assert row["detail"].startswith("first: ")
    assert after.sources[METRO] == source(7)


def test_an_adoption_at_the_position_loses_nothing() -> None:
    [row], after = adopted(METRO, TOPIC_IDS[METRO], 7)
    assert told(row)[2] == Verdict.COMMAND_APPLIED
    assert after.sources[METRO] == source(7)


def test_an_adoption_counts_from_what_its_own_cycle_has_read() -> None:
    """The records before it in its cycle are decided; only what follows them is lost."""
    records = [(METRO, record("a")), (METRO, record("b"))]
    for first, verdict in ((1, "forbidden_operation"), (2, "command_applied"), (5, "command_applied")):
        block = decided(*records, (COMMANDS, adoption(METRO, TOPIC_IDS[METRO], first)))
        rows = [row for row in named_rows(block) if row["verdict"] == Verdict.DELETED_UNREAD]
        assert [told(row)[3:] for row in rows] == ([(2, 4)] if first == 5 else [])
        assert verdicts(block)[-1] == verdict
        assert apply(block, head(), {}, 9).head.sources[METRO].next == max(first, 2)


@pytest.mark.parametrize("topic", ["intake.unknown", "intake.tram"])
def test_an_adoption_of_no_source_is_refused(topic: str) -> None:
    [row], after = adopted(topic, OTHER_ID, 0)
    assert (row["verdict"], row["detail"]) == (Verdict.FORBIDDEN_OPERATION, "topic: no source of this shard")
    assert set(after.sources) == set(SOURCES)


@pytest.mark.parametrize("topic", ["ledger", "outcomes.metro", "intake.", "Commands", "commands\n"])
def test_only_sources_can_be_adopted(topic: str) -> None:
    value = json.dumps({"version": 1, "kind": "adopt", "topic": topic, "topic_id": OTHER_ID, "first": 0})
    assert verdicts(decided((COMMANDS, value.encode()))) == ["malformed"]


def test_commands_made_again_are_adopted_by_their_own_first_record() -> None:
    """The span stands under the new id; what is said of the loss, under the former."""
    before = head(sources=STANDING.sources | {COMMANDS: source(40, COMMANDS)})
    buffer = Buffer(0, {COMMANDS: Source(OTHER_ID, 0)}, FAIR_ROWS_S)
    buffer.add(fetch(COMMANDS, [packed(0, adoption(COMMANDS, OTHER_ID, 0))]))
    block = decided_cycle(buffer.take(before, TODAY), before)
    lost, said = named_rows(block)
    assert told(lost) == (COMMANDS, TOPIC_IDS[COMMANDS], Verdict.DELETED_UNREAD, 40, OFFSET_MAX)
    assert told(said) == (COMMANDS, OTHER_ID, Verdict.COMMAND_APPLIED, 0, 0)
    after = apply(block, before, {}, 9).head.sources[COMMANDS]
    assert (after.topic_id, after.next) == (OTHER_ID, 1), "the adoption itself is not read again"


def test_commands_deleted_unread_are_adopted_by_the_first_record_that_is_left() -> None:
    before = head(sources=STANDING.sources | {COMMANDS: source(40, COMMANDS)})
    buffer = Buffer(0, {COMMANDS: source(55, COMMANDS)}, FAIR_ROWS_S)
    buffer.add(fetch(COMMANDS, [packed(55, adoption(COMMANDS, TOPIC_IDS[COMMANDS], 55))]))
    block = decided_cycle(buffer.take(before, TODAY), before)
    assert [told(row)[2:] for row in named_rows(block)] == [
        (Verdict.DELETED_UNREAD, 40, 54), (Verdict.COMMAND_APPLIED, 55, 55),
    ]  # fmt: skip
    assert apply(block, before, {}, 9).head.sources[COMMANDS].next == 56


def test_a_topic_made_again_does_not_let_the_clock_step_back() -> None:
    """Its position is 0, as before anything was decided; but the topic before had records."""
    again = {COMMANDS: source(0, COMMANDS), METRO: Source(OTHER_ID, 0)}
    block = decided((COMMANDS, clock(NOON - dt.timedelta(days=1))), after=head(sources=again))
    assert verdicts(block) == ["forbidden_operation"]
    unread = {COMMANDS: source(0, COMMANDS), METRO: source(0)}
    block = decided((COMMANDS, clock(NOON - dt.timedelta(days=1))), after=head(sources=unread))
    assert verdicts(block) == ["command_applied"]
