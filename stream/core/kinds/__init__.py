"""What becomes of each kind of command (schemas/kinds has what it says), and what it changes. Pure."""

from typing import Any

from schemas import kinds
from schemas.kinds.said import Said
from stream.core.kinds import adopt, app, clock, dismiss, format, replay
from stream.core.kinds.command_kind import CommandKind

_KINDS: tuple[CommandKind[Any], ...] = (
    adopt.KIND,
    app.KIND,
    clock.KIND,
    dismiss.KIND,
    format.KIND,
    replay.KIND,
)
COMMAND_KINDS: dict[type[Said], CommandKind[Any]] = {kind.command: kind for kind in _KINDS}
if {*COMMAND_KINDS} != {*kinds.COMMANDS.values()}:
    raise TypeError("stream/core/kinds: a command of schemas/kinds of which nothing becomes")
