"""What doctor looks at on this machine: Python, the data folder, and the embedded services' needs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from stream import folder, stack_file
from stream.embedded import jars, kafka, keeper, ports, processes
from stream.errors import OperatorError


class Warned(Exception):
    """All goes on, but an operator should know; its text says what, its second one what to do."""


class Skipped(Exception):
    """The check has no object here; its text says why."""


def not_embedded() -> str:
    """For what only an embedded stack needs."""
    raise Skipped("the services are not embedded")


def check_python() -> str:
    return f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}"  # the CLI refused an older one


def _existing(path: Path) -> Path:
    """The nearest folder above `path` that is there already."""
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())


def check_folder(home: Path) -> str:
    nearest = _existing(home)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise OperatorError(f"{nearest} is no folder you can write.", "set POINTS_HOME to one.")
    if nearest != home:
        return f"{home}, to be made by `points up`"
    if home.stat().st_mode & 0o077:
        raise OperatorError(f"{home} can be read by others.", f"run `chmod 700 {home}`.")
    return str(home)


def check_disk(home: Path) -> str:
    free_bytes = shutil.disk_usage(_existing(home)).free
    if free_bytes < folder.FREE_BYTES_MIN:
        raise OperatorError(
            f"{free_bytes >> 20} MiB free: too little.", "free some space, or move POINTS_HOME."
        )
    return f"{free_bytes / 2**30:.1f} GiB free"


def check_java() -> str:
    done = subprocess.run(
        [str(kafka.java()), "-version"], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode:
        raise OperatorError(f"{kafka.java()} does not run: {done.stderr}", "run `make clean setup`.")
    return done.stderr.splitlines()[0]


def check_jars(home: Path) -> str:
    cache = jars.cache_folder(home)
    missing = jars.missing_jars(home)
    return f"{missing} to be downloaded by the next `points up` to {cache}" if missing else f"all in {cache}"


def check_ports(home: Path) -> str:
    stack = stack_file.read(home)
    if stack is None:
        raise Skipped("chosen by the first `points up`")
    running = {kafka.NAME: kafka.find(home)}
    foreign = [
        f"{name} {stack.ports[name]}"
        for name, process in running.items()
        if process is None and name in stack.ports and not ports.is_free(stack.ports[name])
    ]
    if foreign:
        return f"taken by another program: {', '.join(foreign)}; the next `points up` chooses others"
    return ", ".join(f"{name} {port}" for name, port in sorted(stack.ports.items()))


def check_keeper(home: Path) -> str:
    if not any(service.find(home) for service in keeper.SERVICES.values()):
        raise Skipped("there is nothing to keep: no service runs")
    if processes.find(home, keeper.NAME) is None:
        raise OperatorError("The keeper does not run: nobody starts what dies again.", "run `points up`.")
    if told := keeper.words(keeper.told(home)):
        todo = "see docs/runbook.md, a service was started again."
        raise Warned("; ".join(told), todo)
    return f"keeps {', '.join(keeper.SERVICES)}"
