"""The whole embedded stack: `up`, `down`, `status`."""

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import psutil

from stream import folder, stack_file
from stream import settings as settings_module
from stream.embedded import kafka, keeper, ports, processes, redis
from stream.embedded.keeper import SERVICES, Kept
from stream.errors import OperatorError
from stream.operate.platform.setup import PRINCIPALS, set_up_platform
from stream.settings import Settings
from stream.stack_file import StackFile, new_secret

PORTS = (*kafka.PORTS, "query")
STOP_TIMEOUT_S = 30.0


class ProcessStatus(msgspec.Struct, frozen=True):
    """One process of the stack as it is now; only `name` and `state` are known of one that does not run."""

    name: str
    state: str  # up, down
    pid: int | None = None
    port: int | None = None
    up_since_s: float | None = None  # seconds since 1970
    cpu_s: float | None = None
    memory_bytes: int | None = None
    metrics: str | None = None  # host:port of a worker's /metrics


class StackStatus(msgspec.Struct, frozen=True):
    """All processes of a data folder, and the space that its parts take."""

    home: str
    processes: list[ProcessStatus]
    disk_bytes: dict[str, int]
    disk_free_bytes: int
    kept: dict[str, Kept]  # by service: what the keeper did since the stack was started


def up(
    home: Path,
    env: Mapping[str, str] = os.environ,
    progress: Callable[[str], None] = lambda message: None,
    note: Callable[[str], None] = lambda message: None,
) -> Settings:
    """Start what does not run of the stack in `home`, set the platform up, return the settings.

    Harmless if all of it runs; two at once wait for each other; heals whatever a kill -9 left behind.
    Raises OperatorError, which says what to do, for everything that can go wrong on an operator's side.
    """
    try:
        folder.prepare(home)
        with folder.locked(home / "run" / "stack.lock"):
            stack = _remembered_or_new(home, env)
            settings_module.from_stack(stack, home, env)  # a contradiction is told before anything starts
            kafka.ensure_running(home, stack, progress)
            redis.ensure_running(home, stack, progress)
            keeper.ensure_running(home)
            settings = settings_module.from_stack(stack, home, env)
            set_up_platform(settings, progress, note, stack.ledger_begun)
            if not stack.ledger_begun:
                stack.ledger_begun = True
                stack_file.write(home, stack)
    except OSError as error:
        if error.errno is None:  # a time-out of the network: no file is to blame
            raise
        raise folder.folder_error(home, error) from error
    return settings


def down(home: Path, progress: Callable[[str], None] = lambda message: None) -> list[str]:
    """Stop all processes recorded in `home`, workers before what they need; the names of those that ran.

    The keeper ends first, even while it waits for a service that does not start.
    """
    if not (home / "run").is_dir():
        return []
    stopped = [keeper.NAME] if keeper.end(home) else []
    with folder.locked(home / "run" / "stack.lock"):
        keeper.end(home)  # of an `up` that was under way
        workers = [name for name in processes.names(home) if name not in SERVICES]
        for name in (*workers, *SERVICES):
            if process := _find(home, name):
                progress(f"stopping {name}")
                processes.stop(home, name, process, STOP_TIMEOUT_S)
                stopped.append(name)
            processes.forget(home, name)
    return stopped


def status(home: Path) -> StackStatus:
    """What runs in `home` and what it takes; OperatorError if there is no stack."""
    return StackStatus(
        home=str(home),
        processes=process_statuses(home),
        disk_bytes={path.name: _size_bytes(path) for path in sorted(home.iterdir()) if path.is_dir()},
        disk_free_bytes=shutil.disk_usage(home).free,
        kept=keeper.told(home),
    )


def process_statuses(home: Path) -> list[ProcessStatus]:
    """The services of the stack in `home`, and the workers that were started with it, ended ones included.
    Beside real services there are workers only. OperatorError if there is neither."""
    workers = [name for name in processes.names(home) if name not in SERVICES]
    services = SERVICES if stack_file.read(home) else ()
    if not services and not workers:
        raise OperatorError(
            f"There is no stack in {home}.", "run `points up`, or set POINTS_HOME to its folder."
        )
    return [_process_status(home, name) for name in (*services, *workers)]


def _remembered_or_new(home: Path, env: Mapping[str, str]) -> StackFile:
    """`stack.json` as it must be now: new in a new folder."""
    stack = stack_file.read(home)
    if stack is None:
        _refuse_data_without_secrets(home)
        stack = StackFile(
            platform_id=settings_module.platform_id(env),
            shards=settings_module.shards(env),
            simulated_clock=settings_module.simulated_clock(env),
            kafka_cluster_id=kafka.new_cluster_id(),
            kafka_controller_password=new_secret(),
            kafka_passwords={},
            redis_password=new_secret(),
            query_token=new_secret(),
            ports={},
        )
    for principal in PRINCIPALS:
        stack.kafka_passwords.setdefault(principal, new_secret())
    stack.redis_admin_password = stack.redis_admin_password or new_secret()
    for name in PORTS:
        if name not in stack.ports:
            stack.ports[name] = ports.choose(set(stack.ports.values()))
    if not any(name.startswith("archive") and processes.find(home, name) for name in processes.names(home)):
        stack.ports = ports.keep_or_choose(stack.ports, ("query",))
    stack_file.write(home, stack)
    return stack


def _refuse_data_without_secrets(home: Path) -> None:
    if (home / "kafka" / "data").exists():
        raise OperatorError(
            f"{home} holds Kafka's data, but {stack_file.stack_path(home)} with its passwords is missing.",
            "put back a copy of that file, or set POINTS_HOME to a new folder.",
        )


def _find(home: Path, name: str) -> psutil.Process | None:
    return SERVICES[name].find(home) if name in SERVICES else processes.find(home, name)


def _process_status(home: Path, name: str) -> ProcessStatus:
    process, entry = _find(home, name), processes.read_record(home, name)
    metrics = entry.metrics if entry else None
    with contextlib.suppress(psutil.NoSuchProcess):  # it may end while we look
        if process is not None:
            cpu = process.cpu_times()
            return ProcessStatus(
                name=name,
                state="up",
                pid=process.pid,
                port=entry.port if entry else None,
                up_since_s=process.create_time(),
                cpu_s=cpu.user + cpu.system,
                memory_bytes=process.memory_info().rss,
                metrics=metrics,
            )
    return ProcessStatus(name=name, state="down", metrics=metrics)


def _size_bytes(folder_path: Path) -> int:
    """Bytes on disk; Kafka reserves more for its indexes than it fills, so lengths would mislead."""
    total = 0
    for parent, _, files in os.walk(folder_path):
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, file)).st_blocks * 512
    return total
