"""What a command's kind is to the core: what becomes of a command, and what it changes for later blocks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from schemas.kinds.said import Said
from schemas.state import Head
from schemas.verdicts import Verdict
from stream.core.cycle_input import Cycle
from stream.core.record_rows import Lost


class Circumstances(NamedTuple):
    """Where a command is met: in the last row of `cycle`, which follows `head`."""

    head: Head
    cycle: Cycle
    simulated_clock: bool  # whether genesis allows one


class Clock(NamedTuple):
    """What a shard's time is behind a row, and how far it is ahead of the broker's."""

    time_ms: int
    offset_ms: int


class Obeyed(NamedTuple):
    """What became of a command: its row's verdict and detail, and what it changes in its own block."""

    verdict: Verdict
    detail: str
    lost: tuple[Lost, ...] = ()
    clock: Clock | None = None


def applied(detail: str, lost: tuple[Lost, ...] = (), clock: Clock | None = None) -> Obeyed:
    """A command in force from its row on."""
    return Obeyed(Verdict.COMMAND_APPLIED, detail, lost, clock)


def forbidden(detail: str) -> Obeyed:
    """A command that changes nothing, for this reason: field and rule."""
    return Obeyed(Verdict.FORBIDDEN_OPERATION, detail)


_Command = TypeVar("_Command", bound=Said)


def _unchanged(command: Said, head: Head) -> Head:
    return head


@dataclass(frozen=True)
class CommandKind(Generic[_Command]):
    """One kind of command. Both functions are pure.

    `obey` decides what becomes of it, live alone. `change` is its step in the fold, of a command that was
    applied: from what its row kept of it, and the head behind the block's records, to the head behind it.
    """

    command: type[_Command]
    obey: Callable[[_Command, Circumstances], Obeyed]
    change: Callable[[_Command, Head], Head] = _unchanged
