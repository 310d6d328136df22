"""The closed list of kinds of row: what spoke, or what the platform did by itself.

A command's kind is a file here, which says what it says, and one of the same name in stream/core/kinds, which
says what becomes of it.
"""

from enum import IntEnum
from typing import get_args

from schemas.kinds.adopt import AdoptCommand
from schemas.kinds.app import AppCommand
from schemas.kinds.clock import ClockCommand
from schemas.kinds.dismiss import DismissCommand
from schemas.kinds.format import FormatCommand
from schemas.kinds.replay import ReplayCommand
from schemas.kinds.said import Said


class Kind(IntEnum):
    """Codes of column `kind`, stored in the ledger for ever; the name is what apps and analysts see."""

    NONE = 0  # a record that could not be read far enough to say
    REPORT = 1
    # The platform's own rows, which belong to no record.
    GENESIS = 20
    EXPIRY = 21
    # Commands, from topic `commands` alone.
    APP = 40
    CLOCK = 41
    ADOPT = 42
    REPLAY = 43
    DISMISS = 44
    FORMAT = 45


Command = AdoptCommand | AppCommand | ClockCommand | DismissCommand | FormatCommand | ReplayCommand

NAMES: dict[int, str] = {int(kind): "" if kind is Kind.NONE else kind.name.lower() for kind in Kind}
_BY_TAG: dict[str, type[Said]] = {str(c.__struct_config__.tag): c for c in get_args(Command)}
if {*_BY_TAG} != {NAMES[kind] for kind in Kind if kind >= Kind.APP}:
    raise TypeError("schemas/kinds: a command without a number, or a number without a command")
COMMANDS: dict[Kind, type[Said]] = {Kind[tag.upper()]: command for tag, command in _BY_TAG.items()}
_KINDS = {command: kind for kind, command in COMMANDS.items()}


def kind_of(command: Said) -> Kind:
    """The kind of row that a command is."""
    return _KINDS[type(command)]
