"""`<home>/stack.json`: what an embedded stack must remember between two starts, secrets included."""

import contextlib
import os
import secrets
from pathlib import Path
from urllib.parse import quote

import msgspec

from stream.errors import OperatorError

REDIS_WORKER, REDIS_ADMIN = "worker", "admin"  # Redis's users


class StackFile(msgspec.Struct, forbid_unknown_fields=True):
    """The contents of `stack.json`. Ports and the socket's folder may change with a start; everything else is
    fixed for life."""

    platform_id: str
    shards: int
    simulated_clock: bool
    kafka_cluster_id: str
    kafka_controller_password: str
    kafka_passwords: dict[str, str]
    redis_password: str
    query_token: str
    ports: dict[str, int]
    ledger_begun: bool = False  # all first blocks are written: from then on an empty ledger is a loss
    redis_admin_password: str = ""
    redis_socket_folder: str = ""  # where the path of the data folder is too long for a socket


def redis_socket(home: Path, stack: StackFile) -> Path:
    """Where the Redis of `home` listens."""
    return Path(stack.redis_socket_folder or home / "redis") / "redis.sock"


def redis_url(home: Path, stack: StackFile, user: str, password: str) -> str:
    """The URL with which a user reaches the Redis of `home`."""
    return f"unix://{user}:{quote(password)}@{quote(str(redis_socket(home, stack)))}"


def new_secret() -> str:
    """A fresh password of 192 bits, made of characters that need no quoting in any configuration file."""
    return secrets.token_urlsafe(24)


def stack_path(home: Path) -> Path:
    """Where the stack in `home` keeps what it must remember."""
    return home / "stack.json"


def read(home: Path) -> StackFile | None:
    """The stack in `home`, or None where there is none yet.

    Raises OperatorError if the file cannot be read or is damaged: without its secrets nobody can log in.
    """
    path = stack_path(home)
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OperatorError(
            f"{path} cannot be read: {error.strerror}.", "make it readable for you."
        ) from error
    try:
        return msgspec.json.decode(raw, type=StackFile)
    except msgspec.DecodeError as error:
        raise OperatorError(
            f"{path} is damaged: {error}.",
            "put back a copy of this file; without it the data in this folder cannot be opened. "
            "Or start afresh: set POINTS_HOME to a new folder (or delete this one) and run `points up`.",
        ) from error


def write(home: Path, stack: StackFile) -> None:
    """Replace `stack.json` in one step, so that a crash leaves the old one or the new one."""
    write_secret(stack_path(home), msgspec.json.format(msgspec.json.encode(stack), indent=2))


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, durably and in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
