"""The processes that are measured: workers started and stopped, and everybody's CPU time read."""

import sys
import time
from pathlib import Path
from types import TracebackType

import psutil

from loadtest.environment import inherited
from stream.embedded import processes
from stream.errors import OperatorError

SERVICES = ("redis", "kafka")
STOP_TIMEOUT_S = 15.0


class Workers:
    """Python processes of the stack in `home`, all ended at the end of the `with`. Names end in a number
    where a kind has several."""

    def __init__(self, home: Path, python: Path = Path(sys.executable)) -> None:
        self._home, self._python = home, python
        self._running: dict[str, psutil.Process] = {}

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for name, process in self._running.items():
            processes.stop(self._home, name, process, STOP_TIMEOUT_S)

    def start(self, name: str, *arguments: str, **variables: str) -> None:
        """Runs `python -m <arguments>` with the stack's settings and no others; logs to logs/<name>.log."""
        (self._home / name).mkdir(mode=0o700, exist_ok=True)
        environment = inherited() | {"POINTS_HOME": str(self._home), **variables}
        argv = [str(self._python), "-m", *arguments]
        self._running[name] = processes.start(self._home, name, argv, environment, 0)

    def check(self) -> None:
        """Raises OperatorError, with the end of its log, if a process ended by itself."""
        for name, process in self._running.items():
            if not processes.is_alive(process):
                raise self.failure(name, "ended by itself")

    def last_words(self, name: str, timeout_s: float) -> str:
        """The last line that process `name` wrote, once it has ended. Raises OperatorError."""
        process = self._running.pop(name)
        deadline_s = time.monotonic() + timeout_s
        while processes.is_alive(process):
            if time.monotonic() > deadline_s:
                processes.stop(self._home, name, process, STOP_TIMEOUT_S)
                raise self.failure(name, f"was not done in {timeout_s:.0f} s")
            time.sleep(0.1)
        lines = processes.log_path(self._home, name).read_text().splitlines()
        if not lines or not lines[-1].startswith("{"):
            raise self.failure(name, "ended without a result")
        return lines[-1]

    def failure(self, name: str, what: str) -> OperatorError:
        """An error that says what process `name` did, and shows the end of its log."""
        return OperatorError(
            f"{name} {what}. {processes.tail(self._home, name)}",
            "do what its log says, then run the bench again: it always starts from an empty stack.",
        )

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far, by kind of process."""
        used: dict[str, float] = {}
        found = [(name, processes.find(self._home, name)) for name in SERVICES]
        for name, process in [*self._running.items(), *found]:
            kind = name.rstrip("0123456789-")
            for one in (process, *process.children(recursive=True)):  # the archive's engine is a process
                times = one.cpu_times()
                used[kind] = used.get(kind, 0.0) + times.user + times.system
        return used
