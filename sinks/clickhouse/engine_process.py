"""The process of the engine: chDB, which alone holds the archive's folder. Started by engine.py.

It ends when the worker's end of the socket is closed, and so with the worker, however that ended: a thread of
its own waits for it, also while a query runs.
"""

import os
import queue
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from sinks.clickhouse import engine_protocol as protocol
from sinks.clickhouse.archive import ClickHouseArchive
from sinks.clickhouse.client import chdb_folder
from sinks.clickhouse.errors import ArchiveDamaged, ArchiveUnavailable, QueryRefused
from sinks.clickhouse.read_only import ReadOnlyArchive

FOLDER_WAIT_S = 5.0  # the engine of a worker that was just killed may still hold the folder
END_WAIT_S = 2.0  # for a call that is under way when the worker ends


def main(dsn: str, descriptor: int) -> None:
    """Serves the worker at the other end of the socket `descriptor`."""
    connection = Connection(socket.socket(fileno=descriptor).detach())
    requests: queue.SimpleQueue[protocol.Request | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, requests), daemon=True).start()
    folder = chdb_folder(dsn)
    assert folder, "a server needs no process of ours"
    archive, reader = ClickHouseArchive(dsn), ReadOnlyArchive(folder)
    with suppress(ConnectionError):  # the worker is gone: nobody waits for an answer, and nothing is wrong
        protocol.send(connection, _opened(archive))
        while (asked := requests.get()) is not None:
            protocol.send(connection, _replied(archive, reader, asked))
    reader.close()
    archive.close()


def _listen(connection: Connection, requests: queue.SimpleQueue) -> None:
    try:
        while True:
            requests.put(protocol.request(connection))
    except (EOFError, OSError):
        requests.put(None)
        time.sleep(END_WAIT_S)
        os._exit(0)


def _open(archive: ClickHouseArchive) -> protocol.Reply:
    archive.open()
    return protocol.Ready()


def _opened(archive: ClickHouseArchive) -> protocol.Reply:
    """`Ready`, once the folder is this process's and its tables are up to date."""
    deadline_s = time.monotonic() + FOLDER_WAIT_S
    while True:
        told = _told(lambda: _open(archive))
        if not isinstance(told, protocol.Damaged) or time.monotonic() > deadline_s:
            return told
        time.sleep(0.1)


def _replied(archive: ClickHouseArchive, reader: ReadOnlyArchive, asked: protocol.Request) -> protocol.Reply:
    if isinstance(asked, protocol.HighWater):
        return _told(lambda: protocol.Reached(archive.high_water(asked.shard, asked.verified)))
    if isinstance(asked, protocol.Append):
        return _told(lambda: protocol.Reached(archive.write(asked.insert, asked.mark)))
    return _told(lambda: protocol.Answered(reader.answer(asked.question)))


def _told(call: Callable[[], protocol.Reply]) -> protocol.Reply:
    """What `call` returns, or its error as a reply."""
    try:
        return call()
    except ArchiveUnavailable as error:
        return protocol.Unavailable(str(error))
    except ArchiveDamaged as error:
        return protocol.Damaged(error.message, error.todo)
    except QueryRefused as error:
        return protocol.Refused(error.code, error.message, error.verb, error.tables)
    except Exception:
        return protocol.Failed(traceback.format_exc())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
