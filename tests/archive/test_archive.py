"""The handler: exact under lost replies, crashes at every point, zombies and an absent ClickHouse."""

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from schemas.ledger_record import record_hash
from sinks.clickhouse.errors import ArchiveDamaged, ArchiveUnavailable
from sinks.clickhouse.memory import MemoryArchive
from sinks.clickhouse.run import NOTHING, Archive
from stream import archive as archive_module
from stream import archive_run
from stream.archive_run import RunCutter
from stream.errors import OperatorError
from tests.archive.workers import Faulty, Worker


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(archive_run, "ARCHIVE_RUN_ROWS_MIN", 20)
    monkeypatch.setattr(archive_module, "IDLE_S", 0.02)
    monkeypatch.setattr(archive_module, "RETRY_DELAYS_S", (0.001,))


@pytest.fixture(params=["memory", "chdb"])
def archive(request) -> Archive:
    return MemoryArchive() if request.param == "memory" else request.getfixturevalue("chdb")


@pytest.fixture
def ledger(chains, shard) -> list:
    shapes = [(7, 900), (9, 0), (8, 100), (3, 4_500), (25, 10), (5, 30 * 86_400_000), (6, 0), (30, 1), (2, 0)]
    return chains.records(chains.chain(shard, shapes * 2))


def check(archive: Archive, shard: int, ledger: list, request) -> None:
    """Everything of the ledger is archived once, with the ledger's own hash at its end."""
    mark = archive.high_water(shard)
    assert mark.ledger_offset == len(ledger) - 1
    assert mark.block_hash == dict(ledger[-1].headers)["hash"]
    if not isinstance(archive, MemoryArchive):
        sql = request.getfixturevalue("sql")
        rows = 1 + 2 * sum((7, 9, 8, 3, 25, 5, 6, 30, 2))
        assert sql(f"SELECT count(), uniqExact(seq, row) FROM entries WHERE shard = {shard}") == [
            (rows, rows)
        ]


def run(main: Callable) -> None:
    asyncio.run(main())


@pytest.mark.parametrize(
    "plan", [[], ["lose"] * 3, ["refuse"] * 3, ["ok", "lose", "refuse", "lose", "ok", "refuse"]]
)
def test_lost_and_refused_inserts_are_settled_by_the_mark(archive, shard, ledger, plan, request):
    async def main():
        faulty = Faulty(archive, plan)
        worker = Worker(faulty, shard, ledger)
        assert await worker.start() == 0
        await worker.until(len(ledger))
        await worker.stop()
        tokens = [r.token for r in faulty.appended]
        assert len(tokens) - len(set(tokens)) == plan.count("refuse")  # refused: again, with the same token

    run(main)
    check(archive, shard, ledger, request)


@pytest.mark.parametrize("lost_reply", [True, False])
def test_a_crash_at_any_insert_and_a_restart_write_every_row_once(
    archive, chains, new_shard, lost_reply, request
):
    """Each round takes a fresh shard, ends the worker at its n-th insert, before or after the effect."""

    async def one_round(n: int, shard: int, ledger: list) -> bool:
        reached = threading.Event()

        class Dying(Faulty):
            def append(self, run, mark):
                if len(self.appended) == n:
                    if lost_reply:
                        self.archive.append(run, mark)
                    reached.set()
                    raise ArchiveUnavailable("the process died")
                return super().append(run, mark)

            def high_water(self, shard, verified=NOTHING):
                if reached.is_set():
                    raise ArchiveUnavailable("the process died")
                return super().high_water(shard, verified)

        first = Worker(Dying(archive), shard, ledger)
        await first.start()
        async with asyncio.timeout(30):
            while not reached.is_set() and first.handler.position(first.tp) < len(ledger):
                first.feed()
                await asyncio.sleep(0.005)
        await first.stop()
        second = Worker(archive, shard, ledger, size=5)
        await second.start()
        await second.until(len(ledger))
        await second.stop()
        return reached.is_set()

    for n in range(20):
        shard = new_shard()
        shapes = [
            (7, 900),
            (9, 0),
            (8, 100),
            (3, 4_500),
            (25, 10),
            (5, 30 * 86_400_000),
            (6, 0),
            (30, 1),
            (2, 0),
        ]
        ledger = chains.records(chains.chain(shard, shapes * 2))
        died = asyncio.run(one_round(n, shard, ledger))
        check(archive, shard, ledger, request)
        if not died:
            assert n > 5
            return
    raise AssertionError("runs do not end")


def test_two_workers_at_once_leave_every_row_once(archive, shard, ledger, request):
    """A zombie that read its mark early inserts other, overlapping runs around the owner's."""

    async def main():
        zombie = Worker(archive, shard, ledger, size=1)
        await zombie.start()
        owner = Worker(archive, shard, ledger, size=7)
        await owner.start()
        async with asyncio.timeout(30):
            while min(w.handler.position(w.tp) for w in (zombie, owner)) < len(ledger):
                for worker in (zombie, owner):
                    worker.feed()
                await asyncio.sleep(0.002)
                assert not zombie.failure.done()
                assert not owner.failure.done()
        await owner.stop()
        await zombie.stop()

    run(main)
    check(archive, shard, ledger, request)


def test_an_idle_shard_is_archived_without_another_block(shard, ledger):
    async def main():
        archive = MemoryArchive()
        worker = Worker(archive, shard, ledger[:2])
        await worker.start()
        await worker.until(2)
        assert archive.high_water(shard).seq == 1
        worker.ledger = ledger
        await worker.until(len(ledger))
        await worker.stop()
        assert archive.high_water(shard).ledger_offset == len(ledger) - 1

    run(main)


def test_while_clickhouse_is_away_memory_is_bounded_and_the_rest_stays_in_the_ledger(
    shard, chains, monkeypatch
):
    blocks = chains.chain(shard, [(30, 1)] * 40)
    ledger = chains.records(blocks)
    limit = 10 * blocks[1].rows.nbytes
    monkeypatch.setattr(archive_module, "HELD_BYTES_MAX", limit)

    async def main():
        archive = Faulty(MemoryArchive(), ["refuse"] * 10)
        back = threading.Event()
        archive.high_water = lambda number, verified=NOTHING: (
            archive.archive.high_water(number, verified) if back.is_set() or not archive.appended else _away()
        )
        worker = Worker(archive, shard, ledger, size=1)
        await worker.start()
        worker.feed()
        await asyncio.sleep(0.05)
        worker.feed()
        assert worker.next < 15
        assert not worker.handler.wants(worker.tp)
        assert worker.handler._held_bytes() <= limit + blocks[1].rows.nbytes
        back.set()
        await worker.until(len(ledger))
        await worker.stop()

    def _away():
        raise ArchiveUnavailable("away")

    run(main)


def test_memory_full_of_open_runs_is_relieved(shard, chains, monkeypatch):
    blocks = chains.chain(shard, [(3, 0)] * 30)
    monkeypatch.setattr(archive_run, "ARCHIVE_RUN_ROWS_MIN", 1_000)
    monkeypatch.setattr(archive_module, "IDLE_S", 3_600)
    monkeypatch.setattr(archive_module, "HELD_BYTES_MAX", 4 * blocks[1].rows.nbytes)

    async def main():
        worker = Worker(MemoryArchive(), shard, chains.records(blocks), size=1)
        await worker.start()
        await worker.until(28)
        await worker.stop()
        assert not worker.failure.done()

    run(main)


def test_a_lost_delivery_is_fetched_again(shard, ledger):
    async def main():
        worker = Worker(MemoryArchive(), shard, ledger, size=2)
        await worker.start()
        worker.next = 4
        worker.feed()
        assert await asyncio.wait_for(worker.placed.get(), 5) == 0
        await worker.until(len(ledger))
        assert not worker.failure.done()
        await worker.stop()

    run(main)


def test_a_new_assignment_starts_from_the_mark(shard, ledger):
    async def main():
        archive = MemoryArchive()
        worker = Worker(archive, shard, ledger[:4])
        await worker.start()
        await worker.until(4)
        worker.ledger = ledger
        assert await worker.start() == 3  # the marked block itself is read again, and compared
        await worker.until(len(ledger))
        await worker.stop()
        assert not worker.failure.done()

    run(main)


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
        worker.handler.stop_source(worker.tp, "deleted_unread", "offsets 2 to 4 were deleted unread")
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
