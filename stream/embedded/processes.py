"""The processes of a data folder: started, found again, stopped; never anyone else's."""

import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import psutil

from stream import folder, stack_file
from stream.log import rotate

# psutil derives start times from the boot time, which moves by a little when the clock is set.
CREATE_TIME_TOLERANCE_S = 2.0
KILL_TIMEOUT_S = 10.0

# Children must be waited for by the process that started them, or they stay as zombies.
_children: dict[int, subprocess.Popen] = {}


class ProcessRecord(msgspec.Struct, frozen=True):
    """`home/run/<name>.json`: the process that runs as `name`, told from a pid's next holder by its start."""

    pid: int
    create_time_s: float
    port: int | None
    metrics: str | None = None  # host:port of its /metrics


def start(
    home: Path, name: str, argv: Sequence[str], env: dict[str, str], port: int | None, output: str = ".log"
) -> psutil.Process:
    """Start `argv` in `home/<name>`, or in `home` if there is no such folder, in its own session; record it.

    What it prints goes to `home/logs/<name><output>`; that of the start before has `.1` behind its name.
    An operator's Ctrl-C reaches `points`, not the broker: a stack is only stopped by `points down`.
    """
    printed = home / "logs" / f"{name}{output}"
    rotate(printed)
    with open(os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as file:
        child = subprocess.Popen(
            argv,
            cwd=home / name if (home / name).is_dir() else home,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )
    _children[child.pid] = child
    process = psutil.Process(child.pid)
    record(home, name, process, port)
    return process


def ended_by(process: psutil.Process) -> str:
    """What ended a dead child of ours, as `SIGKILL` or `exit code 3`; '' if it was not ours."""
    child = _children.get(process.pid)
    if child is None:
        return ""
    code = child.wait(KILL_TIMEOUT_S)  # a moment later: it looks dead before the last of its threads is
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def log_path(home: Path, name: str) -> Path:
    """The log of `name`; older ones have `.1`, `.2` behind it: of starts before, or full."""
    return home / "logs" / f"{name}.log"


def record(
    home: Path, name: str, process: psutil.Process, port: int | None, metrics: str | None = None
) -> None:
    """Remember that `process` runs as `name`."""
    entry = ProcessRecord(process.pid, process.create_time(), port, metrics)
    path = _record_path(home, name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # beside real services nobody made it
    stack_file.write_secret(path, msgspec.json.encode(entry))


@contextlib.contextmanager
def registered(home: Path, kind: str, port: int | None = None, metrics: str | None = None) -> Iterator[str]:
    """While it lasts, this process runs as the name that it gets: `kind`, or `kind-2`, ... where others of
    its kind run. `points status` shows it, `points down` stops it."""
    (home / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
    with folder.locked(home / "run" / "workers.lock"):
        name = _name_of_mine(home) or _free_name(home, kind)
        record(home, name, psutil.Process(), port, metrics)
    try:
        yield name
    finally:
        forget(home, name)


def _name_of_mine(home: Path) -> str | None:
    """The name under which whoever started this process has recorded it."""
    for name in names(home):
        process = find(home, name)
        if process is not None and process.pid == os.getpid():
            return name
    return None


def _free_name(home: Path, kind: str) -> str:
    """The first name of a kind that no live process has."""
    candidates = (kind if number == 1 else f"{kind}-{number}" for number in itertools.count(1))
    return next(name for name in candidates if find(home, name) is None)


def find(home: Path, name: str) -> psutil.Process | None:
    """The live process recorded as `name`; a stale or damaged record is no process."""
    entry = read_record(home, name)
    if entry is None:
        return None
    try:
        process = psutil.Process(entry.pid)
        same = abs(process.create_time() - entry.create_time_s) < CREATE_TIME_TOLERANCE_S
    except psutil.Error:
        return None
    return process if same and is_alive(process) else None


def find_orphan(home: Path, name: str, program: str) -> psutil.Process | None:
    """A `program` of ours in `home/<name>` without a record: `points up` was killed before it wrote one.

    It leads a session, as we start each; a dead server's child that still rewrites its file does not.
    """
    where = str((home / name).resolve())
    for process in psutil.process_iter(["name"]):
        if not process.info["name"].startswith(program):
            continue
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            ours = process.cwd() == where and process.uids().real == os.getuid()
            if ours and os.getsid(process.pid) == process.pid and is_alive(process):
                return process
    return None


def read_record(home: Path, name: str) -> ProcessRecord | None:
    """What was recorded as `name`, whether it still runs or not."""
    try:
        return msgspec.json.decode(_record_path(home, name).read_bytes(), type=ProcessRecord)
    except (OSError, msgspec.DecodeError):
        return None


def names(home: Path) -> list[str]:
    """The names of all recorded processes."""
    return sorted(path.stem for path in (home / "run").glob("*.json"))


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs; a dead child of ours is taken off the process table on the way."""
    if child := _children.get(process.pid):
        child.poll()
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def stop(home: Path, name: str, process: psutil.Process, timeout_s: float) -> None:
    """End `process`: SIGTERM, then SIGKILL if it has not gone after `timeout_s`; forget its record."""
    for number, patience_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, KILL_TIMEOUT_S)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)  # psutil refuses if the pid has another holder by now
        deadline_s = time.monotonic() + patience_s
        while is_alive(process) and time.monotonic() < deadline_s:
            time.sleep(0.05)
    forget(home, name)


def forget(home: Path, name: str) -> None:
    """Nothing runs as `name` any more, and nobody waits for it."""
    _record_path(home, name).unlink(missing_ok=True)


def tail(home: Path, name: str, output: str = ".log") -> str:
    """Where the log of `name` is, and its last lines; before it what was printed, where that is apart."""
    log = log_path(home, name)
    printed = home / "logs" / f"{name}{output}"
    told = f"It printed:\n{folder.log_tail(printed)}\n" if printed != log and _has_text(printed) else ""
    return f"{told}Last lines of {log}:\n{folder.log_tail(log)}"


def _has_text(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _record_path(home: Path, name: str) -> Path:
    return home / "run" / f"{name}.json"
