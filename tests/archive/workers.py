"""Archives that fail to order, and a worker without Kafka."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor

from faust.types.tuples import TP

from schemas.topics import LEDGER
from sinks.clickhouse.errors import ArchiveUnavailable
from sinks.clickhouse.run import NOTHING, Archive, Mark, Run
from stream.batches.fetch import Fetch
from stream.engine.archive import ArchiveHandler


class Faulty:
    """An archive whose next inserts go as `plan` says: "refuse" (no effect), "lose" (no reply), "ok"."""

    def __init__(self, archive: Archive, plan: list[str] = ()) -> None:
        self.archive, self.plan, self.appended = archive, list(plan), []

    def high_water(self, shard: int, verified: Mark = NOTHING) -> Mark:
        return self.archive.high_water(shard, verified)

    def append(self, run: Run, mark: Mark) -> Mark:
        fault = self.plan.pop(0) if self.plan else "ok"
        self.appended.append(run)
        if fault == "refuse":
            raise ArchiveUnavailable("refused")
        reached = self.archive.append(run, mark)
        if fault == "lose":
            raise ArchiveUnavailable("the reply was lost")
        return reached

    def close(self) -> None:
        """Its archive outlives it."""


class Worker:
    """A handler with the transport's side of the contract: fetches from `ledger`, of `size` records."""

    def __init__(self, archive: Archive, shard: int, ledger: list, size: int = 3) -> None:
        self.tp, self.ledger, self.size = TP(LEDGER, shard), ledger, size
        self.failure: asyncio.Future = asyncio.get_running_loop().create_future()
        self.thread = ThreadPoolExecutor(1)
        self.handler = ArchiveHandler(archive, self.thread, self._fail)
        self.placed: asyncio.Queue[int] = asyncio.Queue()
        self.next: int | None = None

    def _fail(self, error: BaseException) -> None:
        if not self.failure.done():
            self.failure.set_result(error)

    async def seek_to(self, positions: dict[TP, int]) -> None:
        self.next = positions[self.tp]
        self.placed.put_nowait(self.next)

    async def ends_of(self, tps: list[TP]) -> dict[TP, int]:
        return dict.fromkeys(tps, self.ledger[-1].offset + 1 if self.ledger else 0)

    async def start(self) -> int:
        await self.handler.assigned({self.tp}, self)
        return await asyncio.wait_for(self.placed.get(), 20)

    def feed(self) -> None:
        """Delivers as long as the handler wants more."""
        while self.next < len(self.ledger) and self.handler.wants(self.tp) and not self.failure.done():
            records = self.ledger[self.next : self.next + self.size]
            fetch = Fetch(LEDGER, self.tp.partition, self.next, records[-1].offset + 1, records)
            self.next = fetch.next
            self.handler.take(fetch)

    async def until(self, offset: int) -> None:
        """Feeds until everything below `offset` is archived, or the handler failed."""
        async with asyncio.timeout(30):
            while self.handler.position(self.tp) < offset and not self.failure.done():
                self.feed()
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        await self.handler.stop()
        self.thread.shutdown()


def run(main: Callable[[], Coroutine]) -> None:
    asyncio.run(main())
