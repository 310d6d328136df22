"""What becomes of a command: the platform's word, in force from its own row on. Pure."""

from schemas.block import Span
from schemas.command import (
    AdoptCommand,
    App,
    AppCommand,
    ClockCommand,
    Command,
    DismissCommand,
    ReplayCommand,
)
from schemas.limits import CLOCK_YEAR_MAX, OFFSET_MAX
from schemas.refusal import Refusal
from schemas.report import to_ms
from schemas.state import Head, Source
from schemas.topics import COMMANDS, app_of, intake_topic
from schemas.verdicts import Verdict
from stream.core.cycle_input import Cycle
from stream.core.record_rows import Lost


def continues(span: Span, source: Source) -> bool:
    """Whether a span begins where the source stands: under another id, or behind a loss, it does not."""
    return (span.topic_id, span.first) == (source.topic_id, source.next)


class Commands:
    """Obeys the command that ends a cycle; holds what it changes beside its row: the time, and what was lost.

    `end_ms`: the shard's time after the cycle.
    """

    def __init__(self, head: Head, cycle: Cycle, simulated_clock: bool) -> None:
        self._head, self._cycle, self._simulated_clock = head, cycle, simulated_clock
        # Whether no app's record was decided yet, so that nothing depends on the time. A topic that is not
        # the app's first one may begin at 0 though the one before had records.
        self._nothing_decided = not any(
            source.next or source.topic_id != head.apps[app_of(topic)].topic_id
            for topic, source in head.sources.items()
            if topic != COMMANDS
        )
        self.lost: list[Lost] = []
        self.clock_offset_ms = head.clock_offset_ms
        self.end_ms = cycle.time_ms[-1]

    def obey(self, command: Command, i: int) -> Refusal:
        """What becomes of the command in row `i`; most take effect by `apply`, as no row follows them."""
        match command:
            case AppCommand(app=app):
                return self._register(app)
            case AdoptCommand():
                return self._adopt(command, i)
            case DismissCommand():
                return _dismiss(command, self._cycle.shard)
            case ClockCommand():
                return self._set_clock(command, i)
            case ReplayCommand():
                raise AssertionError("a replay is read as the record that it holds")

    def _register(self, app: App) -> Refusal:
        source = self._head.sources.get(intake_topic(app.id))
        known = self._head.apps.get(app.id)
        if not app.topic_id or (known and known.topic_id != app.topic_id) or (source and not known):
            return Refusal(Verdict.FORBIDDEN_OPERATION, "app.topic_id: must be the intake topic's, for good")
        return Refusal(Verdict.COMMAND_APPLIED, f"app {app.id}: {'active' if app.active else 'suspended'}")

    def _adopt(self, command: AdoptCommand, i: int) -> Refusal:
        """A source goes on elsewhere: under another id, or behind what was deleted unread."""
        source = self._head.sources.get(command.topic)
        if source is None:
            return Refusal(Verdict.FORBIDDEN_OPERATION, "topic: no source of this shard")
        at = self._decided_to(command.topic, source)
        same = command.topic_id == source.topic_id
        if same and command.first < at:
            return Refusal(Verdict.FORBIDDEN_OPERATION, "first: below the position, which is decided")
        if same and command.first == at:
            return Refusal(Verdict.COMMAND_APPLIED, f"{command.topic}: nothing was lost")
        last = command.first - 1 if same else OFFSET_MAX
        self.lost.append(
            Lost(_nothing_of(command.topic, source.topic_id, at), at, last, self._cycle.time_ms[i])
        )
        if not same and command.first:
            span = _nothing_of(command.topic, command.topic_id, 0)
            self.lost.append(Lost(span, 0, command.first - 1, self._cycle.time_ms[i]))
        return Refusal(
            Verdict.COMMAND_APPLIED, f"{command.topic}: read from offset {command.first}; lost from {at} on"
        )

    def _decided_to(self, topic: str, source: Source) -> int:
        """The offset of a source that is due before a command, which ends its cycle."""
        taken = (s.next for s in self._cycle.sources if s.topic == topic != COMMANDS and continues(s, source))
        return next(taken, source.next)

    def _set_clock(self, command: ClockCommand, i: int) -> Refusal:
        if not self._simulated_clock:
            return Refusal(Verdict.FORBIDDEN_OPERATION, "clock: genesis allows no simulated clock")
        at_ms = to_ms(command.at)
        if command.at.year > CLOCK_YEAR_MAX:
            return Refusal(Verdict.FORBIDDEN_OPERATION, f"at: at most {CLOCK_YEAR_MAX}")
        # A platform may begin in the past; once it has decided on a report, its time only goes on.
        if at_ms < self._cycle.time_ms[i] and not (self._nothing_decided and i == 0):
            return Refusal(Verdict.FORBIDDEN_OPERATION, "at: a shard's time never steps back")
        self.clock_offset_ms, self.end_ms = at_ms - self._cycle.broker_ms[i], at_ms
        return Refusal(Verdict.COMMAND_APPLIED, f"clock_offset_ms: {self.clock_offset_ms}")


def _dismiss(command: DismissCommand, shard: int) -> Refusal:
    if command.partition != shard or command.last < command.first:
        return Refusal(Verdict.FORBIDDEN_OPERATION, "partition, first, last: no range of this shard")
    return Refusal(
        Verdict.COMMAND_APPLIED, f"{command.topic}: offsets {command.first} to {command.last} dismissed"
    )


def _nothing_of(topic: str, topic_id: str, offset: int) -> Span:
    """A span in which nothing is read: it only names what a row speaks of."""
    return Span(topic, topic_id, offset, offset)
