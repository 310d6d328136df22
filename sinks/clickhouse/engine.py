"""chDB in a process of its own, which can be ended: nothing else stops a query inside of one long expression.

The folder has one owner, so inserts and queries both go through that process, one after the other, called
from one thread. It is started when it is first needed, and again after it ended, by whatever: 1.3 s to the
first insert.

Why the archive stays exact: an insert that was under way is there as a whole or not at all (the table is told
to sync, and one insert is one part), so a process that ended is what a server is that went away: a doubt. And
as a server that was away may have come back without what it had confirmed, the first insert after any new
start raises `ArchiveUnavailable` without having been tried: all marks are read back first.
"""

import contextlib
import socket
import subprocess
import sys
from multiprocessing.connection import Connection

from sinks.clickhouse import engine_protocol as protocol
from sinks.clickhouse.errors import ArchiveDamaged, ArchiveUnavailable, QueryEnded, QueryRefused
from sinks.clickhouse.query_settings import MAX_EXECUTION_TIME_S
from sinks.clickhouse.read_only import Answer, Question
from sinks.clickhouse.rows import insert_of
from sinks.clickhouse.run import NOTHING, Mark, Run

START_TIMEOUT_S = 60.0
ARCHIVE_TIMEOUT_S = 600.0  # a mark above nothing is 11 ms for 100,000 rows; an insert 0.1 s
# Beyond its own limit, which most queries keep, a query has 2 s to end and hand over 64 MiB. With a new start
# the archive goes on 9 s after a query began that does not end; 15 s are promised.
QUERY_TIMEOUT_S = MAX_EXECUTION_TIME_S + 2.0
END_TIMEOUT_S = 5.0


class EngineEnded(Exception):
    """The engine's process ended, or had to be ended, before it replied."""


class Engine:
    """The engine of the archive at `dsn`, a `chdb://` one. All calls come from one thread."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._process: subprocess.Popen | None = None
        self._connection: Connection | None = None
        self._closed = False
        self.starts = 0  # how often it was started

    def start(self) -> None:
        """Starts the process if it does not run. Raises `EngineEnded`, `ArchiveDamaged`."""
        if self._closed:
            raise EngineEnded("the worker is about to end")
        if self._process is not None and self._process.poll() is None:
            return
        self._end()
        ours, theirs = socket.socketpair()
        with theirs:
            command = [
                sys.executable,
                "-m",
                "sinks.clickhouse.engine_process",
                self._dsn,
                str(theirs.fileno()),
            ]
            # In a session of its own: Ctrl-C is for the worker, which ends it when all is written.
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._connection = Connection(ours.detach())
        self.starts += 1
        _result(self._reply(START_TIMEOUT_S))

    def call(self, asked: protocol.Request, timeout_s: float) -> protocol.Reply:
        """The reply. Raises `EngineEnded` if there is none in time, and then the process is no more;
        otherwise what the engine raised."""
        self.start()
        try:
            protocol.send(self._connected(), asked)
        except OSError as error:
            raise self._ended() from error
        return _result(self._reply(timeout_s))

    def close(self) -> None:
        """Ends the process for good, after what it is doing."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_TIMEOUT_S)
        self._end()

    def _reply(self, timeout_s: float) -> protocol.Reply:
        try:
            if self._connected().poll(timeout_s):
                return protocol.reply(self._connected())
        except (EOFError, OSError) as error:
            raise self._ended() from error
        self._end()
        raise EngineEnded(f"chDB did not answer within {timeout_s:g} s and was ended")

    def _connected(self) -> Connection:
        assert self._connection is not None, "it is started before it is asked"
        return self._connection

    def _ended(self) -> EngineEnded:
        code = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_TIMEOUT_S)  # its socket is closed before it is gone
            code = self._process.returncode
        self._end()
        return EngineEnded(f"chDB's process ended with code {code}")

    def _end(self) -> None:
        """Kills the process; when this returns, the folder is free."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        if self._connection is not None:
            self._connection.close()


class EngineArchive:
    """The `Archive` in an engine's folder."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._starts = 0  # of the engine, when a mark was last read or doubted

    def high_water(self, shard: int, verified: Mark = NOTHING) -> Mark:
        """See `Archive`."""
        self._start()
        return self._call(protocol.HighWater(shard, verified))

    def append(self, run: Run, mark: Mark) -> Mark:
        """See `Archive`."""
        if self._start():
            raise ArchiveUnavailable("chDB was started again")
        return self._call(protocol.Append(insert_of(run), mark))

    def close(self) -> None:
        """See `Archive`; the engine ends."""
        self._engine.close()

    def _start(self) -> bool:
        """Whether the engine is another than at the last call."""
        try:
            self._engine.start()
        except EngineEnded as error:
            raise ArchiveUnavailable(str(error)) from error
        known, self._starts = self._starts, self._engine.starts
        return known != self._starts

    def _call(self, asked: protocol.Request) -> Mark:
        try:
            told = self._engine.call(asked, ARCHIVE_TIMEOUT_S)
        except EngineEnded as error:
            raise ArchiveUnavailable(str(error)) from error
        assert isinstance(told, protocol.Reached), "as its request says"
        return told.mark


class EngineReader:
    """Answers queries from an engine's folder, as `ReadOnlyArchive` does in this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def answer(self, question: Question) -> Answer:
        """See `ReadOnlyArchive`. Raises `QueryEnded` if the engine ended with the query."""
        try:
            self._engine.start()
        except (EngineEnded, ArchiveUnavailable, ArchiveDamaged) as error:
            raise QueryRefused.of(210, "NETWORK_ERROR", "The archive cannot be read now") from error
        try:
            told = self._engine.call(protocol.Ask(question), QUERY_TIMEOUT_S)
        except EngineEnded as error:
            raise QueryEnded.of(159, "TIMEOUT_EXCEEDED", "The query did not end, and was ended") from error
        assert isinstance(told, protocol.Answered), "as its request says"
        return told.answer

    def close(self) -> None:
        """The archive ends the engine."""


def _result(told: protocol.Reply) -> protocol.Reply:
    if isinstance(told, protocol.Unavailable):
        raise ArchiveUnavailable(told.message)
    if isinstance(told, protocol.Damaged):
        raise ArchiveDamaged(told.message, told.todo)
    if isinstance(told, protocol.Refused):
        raise QueryRefused(told.code, told.message, told.verb, told.tables)
    if isinstance(told, protocol.Failed):
        raise RuntimeError(f"in chDB's process:\n{told.message}")  # noqa: TRY004 - of any type, there
    return told
