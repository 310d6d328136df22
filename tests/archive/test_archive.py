"""The handler: exact under lost replies, crashes at every point, zombies and an absent ClickHouse."""

import asyncio
import threading

import pytest

from sinks.clickhouse.errors import ArchiveUnavailable
from sinks.clickhouse.memory import MemoryArchive
from sinks.clickhouse.run import NOTHING, Archive
from stream.engine import archive as archive_module
from stream.engine import archive_run
from tests.archive.workers import Faulty, Worker, run

pytestmark = pytest.mark.usefixtures("small_runs")


@pytest.fixture(params=["memory", "chdb"])
def archive(request) -> Archive:
    return MemoryArchive() if request.param == "memory" else request.getfixturevalue("chdb")


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
