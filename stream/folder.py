"""The data folder: made for its owner only, checked before anything is started, locked while it changes."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stream.errors import OperatorError

FREE_BYTES_MIN = 1 << 30
FOLDERS = ("kafka", "redis", "logs", "run")


def prepare(home: Path) -> None:
    """Make the data folder and its parts, readable by their owner only.

    Raises OperatorError if it cannot be written, or if its disk is nearly full: Kafka and Redis
    started on a full disk break in the middle of a write.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
        for name in FOLDERS:
            (home / name).mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=home / "run") as probe:
            probe.write(bytes(4096))
    except OSError as error:
        raise folder_error(home, error) from error
    free_bytes = shutil.disk_usage(home).free
    if free_bytes < FREE_BYTES_MIN:
        raise OperatorError(
            f"The disk of {home} has {free_bytes >> 20} MiB left; the stack needs {FREE_BYTES_MIN >> 20}.",
            "free some space, or set POINTS_HOME to a folder on another disk.",
        )


def folder_error(home: Path, error: OSError) -> OperatorError:
    """What an operator can do about a failed write below `home`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OperatorError(
            f"The disk of {home} is full.",
            "free some space there, then run `points up` again; nothing is lost.",
        )
    return OperatorError(
        f"The data folder {home} cannot be written: {error.strerror} ({error.filename}).",
        "make it a folder you own, or set POINTS_HOME to one.",
    )


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path`: one process at a time, freed by the kernel when its holder dies.

    Without `wait`, raises BlockingIOError where another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def log_tail(path: Path, lines: int = 12) -> str:
    """The last lines of a log, without Java's stack frames: they say why its process died."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return "(no log)"
    told = [line for line in text.splitlines() if not line.startswith("\tat ")]
    return "\n".join(told[-lines:]) or "(the log is empty)"
