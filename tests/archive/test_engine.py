"""chDB as a process of its own: killed, hung, orphaned; the archive stays exact and goes on in time."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import psutil
import pytest

from sinks.clickhouse.engine import Engine, EngineArchive, EngineReader
from sinks.clickhouse.errors import ArchiveDamaged, ArchiveUnavailable, QueryEnded, QueryRefused
from sinks.clickhouse.nameable import OPERATOR
from sinks.clickhouse.read_only import Question
from sinks.clickhouse.run import NOTHING, LedgerBlock, Run
from tests.archive.workers import Worker

# One sort of some 20 s on one core, by what takes the longest to compare: nothing can interrupt it. It has to
# be one call, as between two the engine looks at the clock and gives up by itself.
ENDLESS = "SELECT length(arraySort(x -> ([x < 0], sipHash64(x)), range(30000000 + number))) FROM numbers(1)"


@pytest.fixture
def dsn(tmp_path) -> str:
    return f"chdb://{tmp_path}/chdb"


@pytest.fixture
def engine(dsn) -> Iterator[Engine]:
    engine = Engine(dsn)
    yield engine
    engine.close()


def process_of(engine: Engine) -> psutil.Process:
    return psutil.Process(engine._process.pid)


def asked(engine: Engine, sql: str) -> bytes:
    return EngineReader(engine).answer(Question(sql, OPERATOR)).body


def run_of(blocks: list, first: int, last: int) -> Run:
    return Run(0, tuple(LedgerBlock(b, b.meta.seq) for b in blocks[first : last + 1]))


def test_inserts_and_queries_go_through_one_process(engine, chains):
    archive = EngineArchive(engine)
    blocks = chains.chain(0, [(3, 0)])
    assert archive.high_water(0) == NOTHING
    assert archive.append(run_of(blocks, 0, 1), NOTHING).seq == 1
    assert asked(engine, "SELECT count() FROM entries") == b"4\n"
    assert engine.starts == 1
    with pytest.raises(QueryRefused) as refused:
        asked(engine, "SELECT * FROM nothing")
    assert (refused.value.code, refused.value.verb) == (60, "select")
    assert engine.starts == 1, "a refusal ends nothing"


def test_after_any_new_start_the_first_insert_is_a_doubt_and_not_tried(engine, chains):
    archive = EngineArchive(engine)
    blocks = chains.chain(0, [(3, 0)] * 2)
    mark = archive.append(run_of(blocks, 0, 1), archive.high_water(0))
    process_of(engine).kill()
    engine._process.wait(10)
    assert asked(engine, "SELECT max(seq) FROM entries") == b"1\n", "a query, too, starts it again"
    with pytest.raises(ArchiveUnavailable):
        archive.append(run_of(blocks, 2, 2), mark)
    assert archive.high_water(0) == mark
    assert archive.append(run_of(blocks, 2, 2), mark).seq == 2


def test_killed_at_any_moment_every_row_is_there_once(engine, chains):
    """kill -9 of the engine before, within and after inserts, under a worker that goes on."""
    blocks = chains.chain(0, [(900, 5_000)] * 40)  # one run a block

    async def main() -> bytes:
        worker = Worker(EngineArchive(engine), 0, chains.records(blocks), size=1)
        await worker.start()
        for kill_at, after_s in ((1, 0.0), (6, 0.002), (13, 0.005), (19, 0.01), (27, 0.02), (33, 0.04)):
            await worker.until(kill_at)
            worker.feed()
            await asyncio.sleep(after_s)  # an insert takes about 0.02 s
            process_of(engine).kill()
        await worker.until(len(blocks))
        assert not worker.failure.done()
        count = "SELECT count(), uniqExact(seq, row), sum(points_milli) FROM entries"
        told = await asyncio.get_running_loop().run_in_executor(worker.thread, asked, engine, count)
        await worker.stop()
        return told

    rows = 1 + 40 * 900
    points = sum(sum(block.rows.column("points_milli").to_pylist()) for block in blocks)
    assert list(map(int, asyncio.run(main()).split())) == [rows, rows, points]
    assert engine.starts >= 5


def test_a_query_that_does_not_end_is_ended_and_archiving_goes_on_in_time(engine, chains):
    archive = EngineArchive(engine)
    blocks = chains.chain(0, [(3, 0)])
    mark = archive.high_water(0)
    with ThreadPoolExecutor(1) as thread:  # the worker's one thread: the insert stands behind the query
        began_s = time.monotonic()
        hung = thread.submit(asked, engine, ENDLESS)

        def append() -> int:
            with suppress(ArchiveUnavailable):
                return archive.append(run_of(blocks, 0, 1), mark).seq
            return archive.append(run_of(blocks, 0, 1), archive.high_water(0)).seq

        assert thread.submit(append).result(60) == 1
        took_s = time.monotonic() - began_s
    with pytest.raises(QueryEnded) as ended:
        hung.result()
    assert ended.value.code == 159
    assert took_s < 15
    assert engine.starts == 2


def test_an_engine_that_cannot_be_started_is_a_doubt(engine, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ArchiveUnavailable, match="ended with code"):
        EngineArchive(engine).high_water(0)
    monkeypatch.undo()
    assert EngineArchive(engine).high_water(0) == NOTHING


def test_a_folder_that_another_worker_holds_is_told_with_what_to_do(engine, dsn):
    EngineArchive(engine).high_water(0)
    other = Engine(dsn)
    with closing(other), pytest.raises(ArchiveDamaged) as damaged:
        EngineArchive(other).high_water(0)
    assert "other archive worker" in damaged.value.todo


ORPHAN = f"""
import sys, threading
from sinks.clickhouse.engine import Engine, EngineReader
from sinks.clickhouse.nameable import OPERATOR
from sinks.clickhouse.read_only import Question
engine = Engine(sys.argv[1])
engine.start()
print(engine._process.pid, flush=True)
EngineReader(engine).answer(Question({ENDLESS!r}, OPERATOR))
"""


def test_a_killed_worker_leaves_no_engine_behind_and_the_next_one_starts(engine, dsn):
    command = [sys.executable, "-c", ORPHAN, dsn]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        orphan = psutil.Process(int(worker.stdout.readline()))
        while orphan.cpu_times().user < 1.5:  # it starts and sorts
            time.sleep(0.05)
        os.kill(worker.pid, signal.SIGKILL)
    assert EngineArchive(engine).high_water(0) == NOTHING, "the folder was free in time"
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
