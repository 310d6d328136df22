"""Kind `dismiss`: its row alone is what it does."""

from schemas.kinds.dismiss import DismissCommand
from stream.core.kinds.command_kind import Circumstances, CommandKind, Obeyed, applied, forbidden


def obey(command: DismissCommand, met: Circumstances) -> Obeyed:
    """A range of offsets, of this shard's partition."""
    if command.partition != met.cycle.shard or command.last < command.first:
        return forbidden("partition, first, last: no range of this shard")
    return applied(f"{command.topic}: offsets {command.first} to {command.last} dismissed")


KIND = CommandKind(DismissCommand, obey)
