"""Who may ask the archive: the operator, by the stack's own secret, and analysts, each by a password of its
own.

Of an analyst's password the data folder keeps a salted scrypt hash, in `analysts.json`. The file is read
again when it has changed, so nothing is restarted for a new analyst.
"""

import contextlib
import hashlib
import hmac
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from sinks.clickhouse.nameable import OPERATOR, PERSONS, TOTALS
from stream import folder, stack_file
from stream.errors import OperatorError

LEVELS = (TOTALS, PERSONS)
_SCRYPT = {"n": 1 << 14, "r": 8, "p": 1}  # 16 MiB and 40 ms


class Analyst(msgspec.Struct, frozen=True):
    """What is kept of an analyst. `since_s` is when the password was made, in seconds since 1970."""

    sees: str
    salt: bytes
    password_hash: bytes
    since_s: int


class Asker(NamedTuple):
    """Who asks, and what he may name (sinks/clickhouse/nameable.py)."""

    name: str
    sees: str


def add(home: Path, name: str, sees: str) -> str:
    """Adds an analyst and returns the password, which nobody can show again. Raises OperatorError."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", name) or name == OPERATOR:
        raise OperatorError(
            "An analyst's name is 1 to 32 small letters, digits and hyphens, and not `operator`.",
            "choose another name.",
        )
    with _changing(home) as analysts:
        if name in analysts:
            raise OperatorError(
                f"There is an analyst {name} already.",
                f"choose another name, or give a new password: points analyst rotate {name}",
            )
        return _with_new_password(analysts, name, sees)


def rotate(home: Path, name: str) -> str:
    """A new password for `name`; the old one ends at once. Raises OperatorError."""
    with _changing(home) as analysts:
        return _with_new_password(analysts, name, _known(analysts, name).sees)


def remove(home: Path, name: str) -> None:
    """`name` may ask no more. Raises OperatorError."""
    with _changing(home) as analysts:
        _known(analysts, name)
        del analysts[name]


def read(home: Path) -> dict[str, Analyst]:
    """All analysts by name. Raises OperatorError if the file is damaged."""
    path = _path(home)
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Analyst])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise OperatorError(
            f"{path} is damaged: {error}.",
            "put back a copy of it; or delete it and add each analyst again (`points analyst add`).",
        ) from error


class Passwords:
    """Checks passwords. `check` may take 40 ms for one that it has not seen before: call it in a thread."""

    def __init__(self, home: Path, operators: str) -> None:
        self._home, self._operators = home, operators.encode()
        self._key = os.urandom(32)
        self._read_at: tuple[int, int] | None = None
        self._analysts: dict[str, Analyst] = {}
        self._seen: dict[tuple[str, bytes], Asker] = {}

    def known(self, name: str, password: str) -> Asker | None:
        """Whom `check` would name, as far as it can be told at once; None if not."""
        self._refresh()
        given = password.encode("utf-8", "surrogateescape")
        if name == OPERATOR and hmac.compare_digest(given, self._operators):
            return Asker(OPERATOR, OPERATOR)
        return self._seen.get((name, self._short(given)))

    def check(self, name: str, password: str) -> Asker | None:
        """Who asks with this password; None if nobody."""
        if asker := self.known(name, password):
            return asker
        given = password.encode("utf-8", "surrogateescape")
        analyst = self._analysts.get(name)
        if not analyst:
            return None
        if not hmac.compare_digest(_hashed(given, analyst.salt), analyst.password_hash):
            return None
        asker = Asker(name, analyst.sees)
        self._seen[name, self._short(given)] = asker
        return asker

    def _refresh(self) -> None:
        try:
            status = _path(self._home).stat()
            at = (status.st_mtime_ns, status.st_ino)
        except FileNotFoundError:
            at = None
        if at != self._read_at:
            self._analysts, self._seen = read(self._home), {}
            self._read_at = at

    def _short(self, password: bytes) -> bytes:
        return hmac.digest(self._key, password, "sha256")


@contextlib.contextmanager
def _changing(home: Path) -> Iterator[dict[str, Analyst]]:
    """The analysts of a data folder, to be changed by one process at a time; kept if no error is raised."""
    with folder.locked(home / "run" / "analysts.lock"):
        analysts = read(home)
        yield analysts
        stack_file.write_secret(_path(home), msgspec.json.format(msgspec.json.encode(analysts), indent=2))


def _with_new_password(analysts: dict[str, Analyst], name: str, sees: str) -> str:
    password, salt = stack_file.new_secret(), os.urandom(16)
    analysts[name] = Analyst(sees, salt, _hashed(password.encode(), salt), int(time.time()))
    return password


def _known(analysts: dict[str, Analyst], name: str) -> Analyst:
    if name not in analysts:
        raise OperatorError(f"There is no analyst {name}.", "`points analyst list` shows all.")
    return analysts[name]


def _hashed(password: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(password, salt=salt, **_SCRYPT)


def _path(home: Path) -> Path:
    return home / "analysts.json"
