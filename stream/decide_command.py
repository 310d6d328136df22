"""What becomes of the platform's own commands. Pure.

Most take effect by `apply`, as no row follows a command in its cycle.
"""

from typing import NamedTuple

from schemas.block import Span
from schemas.codec import Refusal
from schemas.command import AdoptCommand, App, AppCommand, ClockCommand, Command, DismissCommand
from schemas.limits import CLOCK_YEAR_MAX, OFFSET_MAX
from schemas.report import to_ms
from schemas.rules import Rules
from schemas.state import Head, Source
from schemas.topics import COMMANDS, intake_topic
from schemas.verdicts import Verdict
from stream.cycle_input import Cycle
from stream.record_rows import Lost


class Platform(NamedTuple):
    """What holds for the life of a platform, from the genesis block, and the rules in use."""

    name: str
    shards: int
    dedupe_key: bytes
    simulated_clock: bool
    fair_rows_s: int
    rules: Rules


class Decided(NamedTuple):
    """A command's verdict, what its source lost, and the clock from its row on, if it sets one."""

    refusal: Refusal
    lost: tuple[Lost, ...] = ()
    clock_offset_ms: int | None = None
    end_ms: int = 0


def decide_command(command: Command, platform: Platform, head: Head, cycle: Cycle, i: int) -> Decided:
    """What becomes of a command, which is row `i` of a cycle and its last."""
    match command:
        case AppCommand(app=app):
            return _register(app, head)
        case AdoptCommand():
            return _adopt(command, head, cycle, i)
        case DismissCommand():
            return _dismiss(command, cycle.shard)
        case _:
            return _set_clock(command, platform, head, cycle, i)


def continues(span: Span, source: Source) -> bool:
    """Whether a span begins where the source stands: under another id, or behind a loss, it does not."""
    return (span.topic_id, span.first) == (source.topic_id, source.next)


def _forbidden(detail: str) -> Decided:
    return Decided(Refusal(Verdict.FORBIDDEN_OPERATION, detail))


def _applied(detail: str) -> Refusal:
    return Refusal(Verdict.COMMAND_APPLIED, detail)


def _register(app: App, head: Head) -> Decided:
    source, known = head.sources.get(intake_topic(app.id)), head.apps.get(app.id)
    if not app.topic_id or (known and known.topic_id != app.topic_id) or (source and not known):
        return _forbidden("app.topic_id: must be the intake topic's, for good")
    return Decided(_applied(f"app {app.id}: {'active' if app.active else 'suspended'}"))


def _adopt(command: AdoptCommand, head: Head, cycle: Cycle, i: int) -> Decided:
    """A source goes on elsewhere: under another id, or behind what was deleted unread."""
    topic, source = command.topic, head.sources.get(command.topic)
    if source is None:
        return _forbidden("topic: no source of this shard")
    at, same = _decided_to(topic, source, cycle), command.topic_id == source.topic_id
    if same and command.first < at:
        return _forbidden("first: below the position, which is decided")
    if same and command.first == at:
        return Decided(_applied(f"{topic}: nothing was lost"))
    last = command.first - 1 if same else OFFSET_MAX
    lost = [Lost(_nothing_of(topic, source.topic_id, at), at, last, cycle.time_ms[i])]
    if not same and command.first:
        span = _nothing_of(topic, command.topic_id, 0)
        lost.append(Lost(span, 0, command.first - 1, cycle.time_ms[i]))
    return Decided(_applied(f"{topic}: read from offset {command.first}; lost from {at} on"), tuple(lost))


def _decided_to(topic: str, source: Source, cycle: Cycle) -> int:
    """The offset of a source that is due before a command, which ends its cycle."""
    taken = (s.next for s in cycle.sources if s.topic == topic != COMMANDS and continues(s, source))
    return next(taken, source.next)


def _nothing_of(topic: str, topic_id: str, offset: int) -> Span:
    """A span in which nothing is read: it only names what a row speaks of."""
    return Span(topic, topic_id, offset, offset)


def _dismiss(command: DismissCommand, shard: int) -> Decided:
    if command.partition != shard or command.last < command.first:
        return _forbidden("partition, first, last: no range of this shard")
    return Decided(_applied(f"{command.topic}: offsets {command.first} to {command.last} dismissed"))


def _set_clock(command: ClockCommand, platform: Platform, head: Head, cycle: Cycle, i: int) -> Decided:
    if not platform.simulated_clock:
        return _forbidden("clock: genesis allows no simulated clock")
    at_ms = to_ms(command.at)
    if command.at.year > CLOCK_YEAR_MAX:
        return _forbidden(f"at: at most {CLOCK_YEAR_MAX}")
    # A platform may begin in the past; once it has decided on a report, its time only goes on.
    nothing_decided = not any(s.next for topic, s in head.sources.items() if topic != COMMANDS)
    if at_ms < cycle.time_ms[i] and not (nothing_decided and i == 0):
        return _forbidden("at: a shard's time never steps back")
    offset_ms = at_ms - cycle.broker_ms[i]
    return Decided(_applied(f"clock_offset_ms: {offset_ms}"), (), offset_ms, at_ms)
