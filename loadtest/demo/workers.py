"""The platform's processes during the demo: started, killed where asked, restarted, and their CPU counted."""

import sys
from collections import Counter
from pathlib import Path

import psutil

from stream.embedded import processes
from stream.errors import OperatorError

NAMES = ("intake", "archive")
SERVICES = ("kafka", "redis")


class Workers:
    """One process for each of NAMES in a data folder."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self._home, self._environment = home, environment
        self._running: dict[str, psutil.Process] = {}
        self._cpu_s_of_killed: Counter[str] = Counter()  # of floats, which typeshed does not know
        self.kills: list[str] = []

    def start(self, name: str) -> None:
        """Starts a worker; what it has to say is in logs/<name>.log."""
        (self._home / name).mkdir(mode=0o700, exist_ok=True)
        argv = [sys.executable, "-m", "stream.cli", "worker", name]
        self._running[name] = processes.start(self._home, name, argv, self._environment, None)

    def kill_and_restart(self, name: str) -> None:
        """Kills a worker without warning (SIGKILL) and starts it again at once."""
        process = self._running[name]
        self._cpu_s_of_killed[name] += _cpu_s(process)  # type: ignore[assignment]
        process.kill()
        process.wait(processes.KILL_TIMEOUT_S)
        self.kills.append(name)
        self.start(name)

    def check(self) -> None:
        """Raises OperatorError, with the end of its log, if a worker ended by itself."""
        for name, process in self._running.items():
            if not processes.is_alive(process):
                raise OperatorError(
                    f"The {name} worker ended by itself. {processes.tail(self._home, name)}",
                    "do what its log says, or run the demo again; the data folder stays as it is.",
                )

    def cpu_s(self) -> Counter[str]:
        """CPU seconds so far by process, killed workers and this one included."""
        used = self._cpu_s_of_killed.copy()
        for name, process in self._running.items():
            used[name] += _cpu_s(process)  # type: ignore[assignment]
        for name in SERVICES:
            if process := processes.find(self._home, name):
                used[name] += _cpu_s(process)  # type: ignore[assignment]
        used["demo"] += _cpu_s(psutil.Process())  # type: ignore[assignment]
        return used


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system
