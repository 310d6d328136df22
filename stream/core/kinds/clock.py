"""Kind `clock`: a shard's simulated time."""

from schemas.kinds.clock import ClockCommand
from schemas.limits import CLOCK_YEAR_MAX
from schemas.report import to_ms
from schemas.state import Head
from schemas.topics import COMMANDS, app_of
from stream.core.kinds.command_kind import Circumstances, Clock, CommandKind, Obeyed, applied, forbidden


def obey(command: ClockCommand, met: Circumstances) -> Obeyed:
    """A platform may begin in the past; once it has decided on a report, its time only goes on."""
    if not met.simulated_clock:
        return forbidden("clock: genesis allows no simulated clock")
    if command.at.year > CLOCK_YEAR_MAX:
        return forbidden(f"at: at most {CLOCK_YEAR_MAX}")
    at_ms, cycle = to_ms(command.at), met.cycle
    if at_ms < cycle.time_ms[-1] and (len(cycle.offset) > 1 or _has_decided(met.head)):
        return forbidden("at: a shard's time never steps back")
    clock = Clock(at_ms, at_ms - cycle.broker_ms[-1])
    return applied(f"clock_offset_ms: {clock.offset_ms}", clock=clock)


def _has_decided(head: Head) -> bool:
    """Whether an app's record was decided, so that something depends on the time. A topic that is not the
    app's first one may begin at 0 though the one before had records."""
    return any(
        source.next or source.topic_id != head.apps[app_of(topic)].topic_id
        for topic, source in head.sources.items()
        if topic != COMMANDS
    )


KIND = CommandKind(ClockCommand, obey)
