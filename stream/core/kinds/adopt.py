"""Kind `adopt`: a source goes on elsewhere, under another id or behind what was deleted unread."""

from msgspec.structs import replace

from schemas.block import Span
from schemas.kinds.adopt import AdoptCommand
from schemas.limits import OFFSET_MAX
from schemas.state import Head, Source
from schemas.topics import COMMANDS
from stream.core.kinds.command_kind import Circumstances, CommandKind, Obeyed, applied, forbidden
from stream.core.pending import continues
from stream.core.record_rows import Lost


def obey(command: AdoptCommand, met: Circumstances) -> Obeyed:
    """What is lost by it has rows of its own: up to `first`, or to the end of what stood under another id."""
    source = met.head.sources.get(command.topic)
    if source is None:
        return forbidden("topic: no source of this shard")
    at, time_ms = _due(command.topic, source, met), met.cycle.time_ms[-1]
    same = command.topic_id == source.topic_id
    if same and command.first < at:
        return forbidden("first: below the position, which is decided")
    if same and command.first == at:
        return applied(f"{command.topic}: nothing was lost")
    last = command.first - 1 if same else OFFSET_MAX
    lost = [Lost(_nothing_of(command.topic, source.topic_id, at), at, last, time_ms)]
    if not same and command.first:
        lost.append(Lost(_nothing_of(command.topic, command.topic_id, 0), 0, command.first - 1, time_ms))
    detail = f"{command.topic}: read from offset {command.first}; lost from {at} on"
    return applied(detail, lost=tuple(lost))


def change(command: AdoptCommand, head: Head) -> Head:
    """The position that the command names, but never below the one under the same id."""
    before = head.sources[command.topic]
    same = before.topic_id == command.topic_id
    position = max(command.first, before.next) if same else command.first
    after = Source(command.topic_id, position, before.paid_us, before.day, before.day_rows)
    return replace(head, sources=head.sources | {command.topic: after})


def _due(topic: str, source: Source, met: Circumstances) -> int:
    """The offset of a source that is due where the command stands."""
    taken = (s.next for s in met.cycle.sources if s.topic == topic != COMMANDS and continues(s, source))
    return next(taken, source.next)


def _nothing_of(topic: str, topic_id: str, offset: int) -> Span:
    """A span in which nothing is read: it only names what a row speaks of."""
    return Span(topic, topic_id, offset, offset)


KIND = CommandKind(AdoptCommand, obey, change)
