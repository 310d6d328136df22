"""The one kind of error that an operator meets, and the one way in which a worker gives up."""

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger()
_NOTHING_LOST = "start it again: nothing is lost, and nothing is done twice."
_DEFECT = (
    "start it again: nothing is lost. If it ends like this again, it is a defect: keep this log, and go back"
    " to the release before."
)


class OperatorError(Exception):
    """Something only the operator can put right: `message` says what is wrong, `todo` what to do next.

    The CLI shows both without a traceback and ends with exit code 1. Bugs are never dressed as this.
    """

    def __init__(self, message: str, todo: str) -> None:
        super().__init__(message, todo)
        self.message = message
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.message} To go on: {self.todo}"


def explained(error: BaseException) -> OperatorError | None:
    """What an operator can do about an error of a service, the disk or the machine; None for a defect.

    For errors that nobody nearer to their cause has explained. Libraries are told by their names, so that no
    command imports all of them.
    """
    if isinstance(error, OperatorError):
        return error
    if isinstance(error, MemoryError):
        return OperatorError("There is no memory left.", f"give it more, then {_NOTHING_LOST}")
    if isinstance(error, subprocess.TimeoutExpired):
        program = str(error.cmd[0]).rpartition("/")[2]
        return OperatorError(
            f"{program} did not end within {error.timeout:.0f} s.",
            f"see that the machine has processor, memory and disk to spare, then {_NOTHING_LOST}",
        )
    names = {kind.__name__ for kind in type(error).__mro__}
    library = next((m for kind in type(error).__mro__ if (m := _library(kind)) in _SERVICES), None)
    if library and not names & _MISUSE:
        return _of_service(_SERVICES[library], error, names)
    if isinstance(error, OSError):
        return _of_system(error)
    return None


# Not the service's doing: this process asked what nobody may ask.
_MISUSE = {"IllegalStateError", "IllegalOperation", "ProgrammingError"}
_SERVICES = {"aiokafka": "Kafka", "cimpl": "Kafka", "redis": "Redis", "clickhouse_connect": "ClickHouse"}


def _library(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _of_service(service: str, error: BaseException, names: set[str]) -> OperatorError:
    told = " ".join(str(error).split())[:300] or type(error).__name__
    if any("Authentication" in name for name in names) or "SASL" in told:
        return OperatorError(
            f"{service} does not let this process in: {told}.",
            "correct the password; with the embedded stack `points up` sets it.",
        )
    if any("Authorization" in name for name in names):
        return OperatorError(f"{service} refuses a right: {told}.", "run `points up`, which grants it.")
    return OperatorError(
        f"{service} does not do what it is asked: {told}.",
        f"see with `points doctor` that it runs, then {_NOTHING_LOST}",
    )


def _of_system(error: OSError) -> OperatorError:
    where = f" ({error.filename})" if error.filename else ""
    told = f"{error.strerror or type(error).__name__}{where}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else ""
        return OperatorError(f"The disk is full{where}.", f"free some space, then {_NOTHING_LOST}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OperatorError(f"A file cannot be used: {told}.", "make it yours, or set POINTS_HOME.")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        return OperatorError(
            f"A file or folder is not as it was: {told}.",
            "put back what was moved or deleted, or set POINTS_HOME to the right folder.",
        )
    if error.errno == errno.EADDRINUSE:
        return OperatorError(f"Cannot listen: {told}.", "end the program that listens there, or `points up`.")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return OperatorError(f"No more files can be opened: {told}.", "raise the limit (`ulimit -n 65536`).")
    if isinstance(error, ConnectionError | TimeoutError) or error.errno is None:
        return OperatorError(
            f"A service does not answer: {told}.", f"see which with `points doctor`, then {_NOTHING_LOST}"
        )
    return OperatorError(f"The system refuses: {told}.", f"put that right, then {_NOTHING_LOST}")


def end_process(error: BaseException) -> None:
    """Ends a worker at once with exit code 1, so that nothing goes on after an error that nobody understood.

    Not by an exception: Faust would restart the agent, without the batch that it had in hand. Whatever was
    half done is settled by the recovery of whoever takes the shards over.
    """
    try:
        if known := explained(error):
            log.error("worker stopped", reason=known.message, todo=known.todo)
        else:
            log.error("worker stopped", reason=repr(error), todo=_DEFECT, exc_info=error)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:  # without memory, or without a disk for the log, not even this can be said
        os._exit(1)


def in_background(
    work: Coroutine[Any, Any, Any], fail: Callable[[BaseException], Any] = end_process
) -> asyncio.Task[Any]:
    """Runs what nobody waits for: an error of it would be seen by nobody, so it goes to `fail`."""

    def ended(task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()):
            fail(error)

    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(ended)
    return task
