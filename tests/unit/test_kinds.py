"""What becomes of each kind of command, on both sides of each condition."""

import datetime as dt

import msgspec
import pytest

from schemas.kinds.adopt import AdoptCommand
from schemas.kinds.app import App, AppCommand
from schemas.kinds.clock import ClockCommand
from schemas.kinds.dismiss import DismissCommand
from schemas.kinds.format import FormatCommand
from schemas.limits import CLOCK_YEAR_MAX, OFFSET_MAX
from schemas.state import Head, Source
from schemas.topics import COMMANDS
from stream.core.kinds import adopt, app, clock, dismiss, format
from stream.core.kinds.command_kind import Circumstances, Obeyed
from tests.making import APPS, BUS, METRO, NOON, NOON_MS, TOPIC_IDS, cycle, head, source

MS = dt.timedelta(milliseconds=1)
OTHER_ID = "other".ljust(22, "-")


def met(after: Head | None = None, before: tuple = (), simulated_clock: bool = True) -> Circumstances:
    """A command at noon, behind these records of its cycle."""
    after = after or head()
    return Circumstances(
        after, cycle(*before, (COMMANDS, b"a command", NOON_MS), after=after), simulated_clock
    )


def said(obeyed: Obeyed) -> str:
    return obeyed.verdict.code


# --- clock -------------------------------------------------------------------------------------------------

UNDECIDED = head(sources={COMMANDS: source(7, COMMANDS), METRO: source(0)})
DECIDED = head(sources={COMMANDS: source(7, COMMANDS), METRO: source(1)})
ONE_OF_TWO = head(sources={COMMANDS: source(7, COMMANDS), METRO: source(1), BUS: source(0, BUS)})
OF_ANOTHER_ID = head(sources={COMMANDS: source(7, COMMANDS), METRO: Source(OTHER_ID, 0)})


@pytest.mark.parametrize(
    ("at", "where", "verdict"),
    [
        (NOON, met(DECIDED), "command_applied"),
        (NOON - MS, met(DECIDED), "forbidden_operation"),
        (NOON - MS, met(OF_ANOTHER_ID), "forbidden_operation"),
        (NOON - MS, met(ONE_OF_TWO), "forbidden_operation"),
        (NOON - MS, met(UNDECIDED), "command_applied"),
        (NOON - MS, met(UNDECIDED, ((METRO, b"x", NOON_MS - 1),)), "forbidden_operation"),
        (NOON, met(UNDECIDED, ((METRO, b"x", NOON_MS - 1),)), "command_applied"),
        (NOON + MS, met(DECIDED, ((METRO, b"x", NOON_MS - 1),)), "command_applied"),
        (NOON, met(DECIDED, simulated_clock=False), "forbidden_operation"),
        (NOON.replace(year=CLOCK_YEAR_MAX), met(DECIDED), "command_applied"),
        (NOON.replace(year=CLOCK_YEAR_MAX + 1), met(DECIDED), "forbidden_operation"),
    ],
)
def test_a_clock_goes_on_and_back_only_before_anything_was_decided(
    at: dt.datetime, where: Circumstances, verdict: str
) -> None:
    obeyed = clock.obey(ClockCommand(at=at), where)
    assert said(obeyed) == verdict
    at_ms = int(at.timestamp() * 1_000)
    assert obeyed.clock == ((at_ms, at_ms - NOON_MS) if verdict == "command_applied" else None)


# --- adopt -------------------------------------------------------------------------------------------------

AT_5 = head(sources={COMMANDS: source(7, COMMANDS), METRO: source(5)})


def adopted(
    first: int, topic_id: str = TOPIC_IDS[METRO], topic: str = METRO, where: Circumstances | None = None
) -> Obeyed:
    return adopt.obey(AdoptCommand(topic=topic, topic_id=topic_id, first=first), where or met(AT_5))


def lost(obeyed: Obeyed) -> list[tuple[str, int, int]]:
    return [(each.span.topic_id, each.first, each.last) for each in obeyed.lost]


def test_under_the_same_id_a_source_goes_on_at_or_behind_its_position() -> None:
    mine = TOPIC_IDS[METRO]
    assert said(adopted(4)) == "forbidden_operation"
    assert (said(adopted(5)), lost(adopted(5))) == ("command_applied", [])
    assert (said(adopted(6)), lost(adopted(6))) == ("command_applied", [(mine, 5, 5)])
    assert lost(adopted(9)) == [(mine, 5, 8)]
    assert said(adopted(9, topic=BUS)) == "forbidden_operation", "no source of this shard"


def test_under_another_id_all_that_was_left_is_lost_and_what_the_new_one_lacks() -> None:
    mine = TOPIC_IDS[METRO]
    assert lost(adopted(0, OTHER_ID)) == [(mine, 5, OFFSET_MAX)]
    assert lost(adopted(1, OTHER_ID)) == [(mine, 5, OFFSET_MAX), (OTHER_ID, 0, 0)]
    for first in (3, 5, 9):  # where the one before stood says nothing
        assert lost(adopted(first, OTHER_ID)) == [(mine, 5, OFFSET_MAX), (OTHER_ID, 0, first - 1)]


def test_what_the_command_s_own_cycle_took_is_decided() -> None:
    known = head(sources={COMMANDS: source(0, COMMANDS), METRO: source(0)})
    behind = met(known, ((METRO, b"x", NOON_MS - 2), (METRO, b"y", NOON_MS - 1)))
    assert said(adopted(1, where=behind)) == "forbidden_operation"
    assert lost(adopted(2, where=behind)) == []
    assert lost(adopted(3, where=behind)) == [(TOPIC_IDS[METRO], 2, 2)]
    first = adopted(0, TOPIC_IDS[COMMANDS], COMMANDS, met(known))
    assert said(first) == "command_applied", "commands' own cycle is the command itself"


def test_what_the_cycle_took_of_another_id_says_nothing_of_the_position() -> None:
    known = head(sources={COMMANDS: source(0, COMMANDS), METRO: Source(OTHER_ID, 3)})
    behind = met(known, ((METRO, b"x", NOON_MS - 1),))
    assert lost(adopted(3, OTHER_ID, where=behind)) == []
    assert lost(adopted(4, OTHER_ID, where=behind)) == [(OTHER_ID, 3, 3)]


@pytest.mark.parametrize(
    ("topic_id", "first", "following"),
    [(TOPIC_IDS[METRO], 4, 5), (TOPIC_IDS[METRO], 5, 5), (TOPIC_IDS[METRO], 6, 6), (OTHER_ID, 2, 2)],
)
def test_a_position_never_steps_back_under_the_same_id(topic_id: str, first: int, following: int) -> None:
    after = adopt.change(AdoptCommand(topic=METRO, topic_id=topic_id, first=first), AT_5)
    assert (after.sources[METRO].topic_id, after.sources[METRO].next) == (topic_id, following)
    assert after.sources[COMMANDS] == AT_5.sources[COMMANDS]


# --- app, dismiss, format ----------------------------------------------------------------------------------


def test_an_app_keeps_the_topic_of_its_first_command() -> None:
    metro: App = APPS["metro"]
    new = head(apps={}, sources={COMMANDS: source(0, COMMANDS)})
    stray = head(apps={}, sources={COMMANDS: source(0, COMMANDS), METRO: source(3)})
    without_id, other_id = (msgspec.structs.replace(metro, topic_id=each) for each in ("", OTHER_ID))

    def became(one: App, where: Head) -> str:
        return said(app.obey(AppCommand(app=one), met(where)))

    assert became(metro, head()) == became(metro, new) == became(other_id, new) == "command_applied"
    assert became(without_id, head()) == became(without_id, new) == "forbidden_operation"
    assert became(other_id, head()) == "forbidden_operation"
    assert became(metro, stray) == "forbidden_operation", "a source of an app that nobody registered"
    known = head(sources={COMMANDS: source(0, COMMANDS)})
    assert became(metro, known) == "command_applied", "its source has nothing yet"


def test_a_known_source_stays_where_it_is_when_its_app_is_told_again() -> None:
    changed = app.change(AppCommand(app=APPS["metro"]), AT_5)
    assert changed.sources[METRO] == AT_5.sources[METRO]
    new = app.change(AppCommand(app=APPS["bus"]), AT_5)
    assert new.sources[BUS] == Source(TOPIC_IDS[BUS], 0)


@pytest.mark.parametrize(
    ("partition", "first", "last", "verdict"),
    [
        (0, 3, 3, "command_applied"),
        (0, 3, 4, "command_applied"),
        (0, 3, 2, "forbidden_operation"),
        (1, 3, 4, "forbidden_operation"),
    ],
)
def test_a_dismissal_is_of_a_range_of_this_shard(partition: int, first: int, last: int, verdict: str) -> None:
    command = DismissCommand(
        topic=METRO, topic_id=TOPIC_IDS[METRO], partition=partition, first=first, last=last
    )
    assert said(dismiss.obey(command, met())) == verdict


@pytest.mark.parametrize(
    ("number", "verdict"), [(1, "forbidden_operation"), (2, "command_applied"), (3, "command_applied")]
)
def test_a_format_never_steps_back(number: int, verdict: str) -> None:
    command = FormatCommand(number=number, release="1.0")
    assert said(format.obey(command, met(head(format=2)))) == verdict
