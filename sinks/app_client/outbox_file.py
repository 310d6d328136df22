"""The SQLite file of an outbox: its tables, one transaction at a time, one process at a time."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sinks.app_client.errors import ClientError

FORMAT = 2
# On disk at every commit; the lock ends with its process, however that ends.
_SETTINGS = ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL")
# told: 0 not yet, 1 yes, 2 the app's callback failed.
_TABLES = """
CREATE TABLE record (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    uid TEXT NOT NULL,
    value BLOB NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued',
    due_ms INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    doubt INTEGER NOT NULL DEFAULT 0,
    topic_id TEXT,
    partition INTEGER,
    offset INTEGER,
    verdict TEXT NOT NULL DEFAULT '',
    outcome BLOB,
    told INTEGER NOT NULL DEFAULT 0,
    answered_ms INTEGER
);
CREATE INDEX queued ON record (due_ms, n) WHERE state = 'queued';
CREATE INDEX sent ON record (topic_id, partition, offset) WHERE state = 'sent';
CREATE INDEX unanswered ON record (state, verdict) WHERE state <> 'answered';
CREATE INDEX untold ON record (n) WHERE state = 'answered' AND told = 0;
CREATE INDEX answered ON record (answered_ms) WHERE state = 'answered';
CREATE TABLE cursor (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE owner (app TEXT NOT NULL, cluster_id TEXT NOT NULL, outcomes_id TEXT NOT NULL);
"""


class OutboxFile:
    """Thread-safe. Raises `ClientError` if the file is another app's, in use, or cannot be used."""

    def __init__(self, path: Path, app: str) -> None:
        self._lock = threading.Lock()
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # uids are nobody else's business
            self._db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise ClientError(
                f"outbox {path}: {error}; name a file in a folder that you may write"
            ) from error
        try:
            self._prepare(path, app)
        except sqlite3.Error as error:
            self.close()
            reason = str(error)
            if "locked" in reason:
                reason = "another process or client has it open; each needs a file of its own"
            raise ClientError(f"outbox {path}: {reason}") from error
        except ClientError:
            self.close()
            raise

    def _prepare(self, path: Path, app: str) -> None:
        for setting in _SETTINGS:
            self._db.execute(f"PRAGMA {setting}")
        with self.transaction() as db:
            [(version,)] = db.execute("PRAGMA user_version")
            if version == 0:
                for statement in _TABLES.split(";"):
                    db.execute(statement)
                db.execute("INSERT INTO owner VALUES (?, '', '')", (app,))
                db.execute(f"PRAGMA user_version={FORMAT}")
            elif version != FORMAT:
                raise ClientError(
                    f"outbox {path}: made by another release of this client (format {version}, not {FORMAT});"
                    " go on with that release, or name a new file and report again what has no answer"
                )
            [(owner,)] = db.execute("SELECT app FROM owner")
            if owner != app:
                raise ClientError(f"outbox {path}: belongs to the app {owner}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is done inside is on disk at the end, or none of it."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def rows(self, sql: str, values: tuple = ()) -> list[tuple]:
        """The rows of one query."""
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def close(self) -> None:
        """Lets others open the file."""
        with self._lock:
            self._db.close()
