"""Lag of the archive: rises while ClickHouse does not take what comes, and goes back to 0."""

import asyncio
import time
from collections.abc import Callable

import pytest

from sinks.clickhouse.memory import MemoryArchive
from stream.engine import archive as archive_module
from tests.archive.conftest import Chains
from tests.archive.workers import Faulty, Worker
from tests.metrics.feeding import scraped

SHARD = 3


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(archive_module, "IDLE_S", 0.01)
    monkeypatch.setattr(archive_module, "RETRY_DELAYS_S", (0.001,))


def ledger() -> list:
    """Genesis and three blocks, which the broker took a minute ago, a second apart."""
    chains = Chains()
    records = chains.records(chains.chain(SHARD, [(7, 900), (9, 10), (8, 100)]))
    for number, record in enumerate(records):
        record.timestamp = time.time_ns() // 1_000_000 - 60_000 + 1_000 * number
    return records


async def until(what: Callable[[], object]) -> None:
    """Polls what a worker tells of itself, which has no event to wait for."""
    async with asyncio.timeout(20):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class Away(Faulty):
    """A ClickHouse that does not take anything until it is `back`."""

    back = False

    def append(self, run, mark):
        self.plan = [] if self.back else ["refuse"]
        return super().append(run, mark)


def test_lag_while_clickhouse_is_away_and_after() -> None:
    async def play() -> None:
        archive, records = Away(MemoryArchive()), ledger()
        worker = Worker(archive, SHARD, records)
        await worker.start()
        metrics = worker.handler.metrics
        worker.feed()
        await until(lambda: scraped(metrics).total("points_archive_retries_total") >= 3)
        now = scraped(metrics)
        assert now.total("points_service_up", service="clickhouse") == 0
        assert now.total("points_lag_blocks", stage="archive") == len(records)
        assert 60 <= now.total("points_lag_seconds", stage="archive") < 80
        assert now.total("points_held_bytes") > 0

        archive.back = True
        await worker.until(len(records))
        now = scraped(metrics)
        assert now.total("points_lag_blocks") == now.total("points_lag_seconds") == 0
        assert now.total("points_held_bytes") == 0
        assert now.total("points_shard_seq", stage="archive", shard=str(SHARD)) == len(records) - 1
        assert now.total("points_archived_rows_total") == 1 + 7 + 9 + 8
        assert now.total("points_service_up", service="clickhouse") == 1
        await worker.stop()

    asyncio.run(play())


def test_a_zombies_block_at_the_end_is_no_lag() -> None:
    """Nobody archives it, and no block may come for days."""

    async def play() -> None:
        records = ledger()
        stray = Chains().records([Chains.block_after(Chains.genesis(SHARD), 2, salt="zombie")], len(records))
        worker = Worker(MemoryArchive(), SHARD, records + stray)
        await worker.start()
        await worker.until(len(records))
        async with asyncio.timeout(20):
            while scraped(worker.handler.metrics).total("points_lag_blocks"):
                worker.feed()
                await asyncio.sleep(0.001)
        assert scraped(worker.handler.metrics).total("points_lag_seconds") == 0
        await worker.stop()

    asyncio.run(play())


def test_a_shard_whose_mark_cannot_be_read_waits() -> None:
    class Unreadable(Faulty):
        def high_water(self, shard, verified=None):
            raise archive_module.ArchiveUnavailable("no answer")

    async def play() -> None:
        worker = Worker(Unreadable(MemoryArchive()), SHARD, ledger())
        await worker.handler.assigned({worker.tp}, worker)
        await until(lambda: scraped(worker.handler.metrics).total("points_lag_seconds", stage="archive"))
        now = scraped(worker.handler.metrics)
        assert now.total("points_shard_ready", stage="archive") == 0
        await worker.stop()

    asyncio.run(play())
