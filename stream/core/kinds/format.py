"""Kind `format`: the format of a shard's blocks, which only ever rises."""

from msgspec.structs import replace

from schemas.kinds.format import FormatCommand
from schemas.state import Head
from stream.core.kinds.command_kind import Circumstances, CommandKind, Obeyed, applied, forbidden


def obey(command: FormatCommand, met: Circumstances) -> Obeyed:
    """A release that cannot write the format does not come here: see stream/engine/cycle.py."""
    if command.number < met.head.format:
        return forbidden(f"number: format {met.head.format} is in force, and there is no way back")
    return applied(f"format {command.number}: from the next block on")


def change(command: FormatCommand, head: Head) -> Head:
    """The blocks that follow are written so."""
    return replace(head, format=command.number, format_release=command.release)


KIND = CommandKind(FormatCommand, obey, change)
