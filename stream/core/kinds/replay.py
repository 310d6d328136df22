"""Kind `replay`: read as the record that it holds (stream/core/read.py), and decided as that."""

from schemas.kinds.replay import ReplayCommand
from stream.core.kinds.command_kind import Circumstances, CommandKind, Obeyed


def obey(command: ReplayCommand, met: Circumstances) -> Obeyed:
    """Never met as a command."""
    raise AssertionError("a replay is read as the record that it holds")


KIND = CommandKind(ReplayCommand, obey)
