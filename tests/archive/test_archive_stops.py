"""What stops an archive worker, in one clear line, and what does not."""

import asyncio
from types import SimpleNamespace

import pytest

from schemas.ledger_record import record_hash
from sinks.clickhouse.errors import ArchiveDamaged, ArchiveUnavailable
from sinks.clickhouse.memory import MemoryArchive
from sinks.clickhouse.run import NOTHING, Archive
from stream.engine.archive_run import RunCutter
from stream.errors import OperatorError
from tests.archive.workers import Faulty, Worker, run

pytestmark = pytest.mark.usefixtures("small_runs")


def failure_of(archive: Archive, shard: int, ledger: list) -> OperatorError:
    found = []

    async def main():
        worker = Worker(archive, shard, ledger)
        await worker.handler.assigned({worker.tp}, worker)
        placed = asyncio.ensure_future(worker.placed.get())
        await asyncio.wait([placed, worker.failure], return_when="FIRST_COMPLETED", timeout=20)
        if placed.done():
            await worker.until(10**9)
        placed.cancel()
        found.append(await worker.failure)
        await worker.stop()

    run(main)
    assert isinstance(found[0], OperatorError)
    return found[0]


def test_another_ledger_stops_the_worker(shard, chains):
    archive = MemoryArchive()
    mine = chains.chain(shard, [(3, 0)] * 3)
    cutter = RunCutter(shard, NOTHING)
    for offset, block in enumerate(mine):
        cutter.push(block.record, offset)
    archive.append(cutter.flush(), NOTHING)
    error = failure_of(archive, shard, chains.records(chains.chain(shard, [(4, 0)] * 5)))
    assert "the archive ends with block 3" in error.message
    assert "of one platform" in error.todo


def test_garbage_and_foreign_blocks_are_passed_over_and_counted(shard, ledger, chains):
    """Also a block of another chain, far above the shard's end, from a tool that wrote to the wrong Kafka."""
    other = chains.records(chains.chain(shard, [(1, 0)] * 30))[-1]
    junk = SimpleNamespace(value=b"rubbish", headers=(), timestamp=0, key=None)
    empty = SimpleNamespace(value=None, headers=(("prev", None), ("hash", b"x")), timestamp=0, key=None)
    mixed = [*ledger[:3], junk, other, *ledger[3:], empty, ledger[2]]
    for offset, record in enumerate(mixed):
        mixed[offset] = SimpleNamespace(**vars(record) | {"offset": offset})

    archive = MemoryArchive()

    async def main():
        worker = Worker(archive, shard, mixed)
        await worker.start()
        await worker.until(len(mixed) - 2)
        assert not worker.failure.done()
        archived = [found.block.hash for _, found in sorted(archive.blocks.items())]
        assert archived == [dict(record.headers)["hash"] for record in ledger]
        found = worker.handler.metrics.registry.get_sample_value("points_ledger_ignored_records_total")
        assert found == 4
        await worker.stop()

    run(main)


def test_a_record_that_counts_and_is_no_block_stops_the_worker(shard, ledger):
    prev, junk = dict(ledger[2].headers)["hash"], b"\0\1junk"
    ledger[3].value = junk
    ledger[3].headers = (("prev", prev), ("hash", record_hash(prev, junk)))
    error = failure_of(MemoryArchive(), shard, ledger)
    assert "ledger record is no block" in error.message


def test_a_newer_format_stops_the_worker_and_names_the_release(shard, ledger):
    prev, newer = dict(ledger[2].headers)["hash"], b"\0\2newer"
    ledger[3].value = newer
    ledger[3].headers = (("prev", prev), ("hash", record_hash(prev, newer)), ("release", b"9.1"))
    error = failure_of(MemoryArchive(), shard, ledger)
    assert f"shard {shard}: the ledger holds format 2, written by release 9.1" in error.message.lower()
    assert "release 9.1 or a later one" in error.todo


def test_blocks_that_kafka_deleted_stop_the_worker(shard, ledger):
    """The transport notices by the first offset that is left."""

    async def main():
        worker = Worker(MemoryArchive(), shard, ledger)
        await worker.start()
        worker.handler.stop_source(
            worker.tp,
            worker.handler.position(worker.tp),
            "deleted_unread",
            "offsets 2 to 4 were deleted unread",
        )
        error = await worker.failure
        assert "offsets 2 to 4 were deleted unread" in error.message
        assert "restore topic `ledger`" in error.todo
        await worker.stop()

    run(main)


def test_a_damaged_archive_stops_the_worker_and_says_what_to_do(shard, ledger):
    class Damaged(MemoryArchive):
        def high_water(self, shard, verified=NOTHING):
            raise ArchiveDamaged("rows are missing.", "delete them.")

    error = failure_of(Damaged(), shard, ledger)
    assert (error.message, error.todo) == ("rows are missing.", "delete them.")


def test_an_archive_that_went_back_in_time_stops_the_worker(shard, ledger):
    class Restored(Faulty):
        def append(self, run, mark):
            if len(self.appended) == 2:
                self.archive.blocks.clear()
                self.appended.append(run)
                raise ArchiveUnavailable("restarting")
            return super().append(run, mark)

    error = failure_of(Restored(MemoryArchive()), shard, ledger)
    assert "lost rows or was restored" in error.message
    assert "start the archive worker again" in error.todo
