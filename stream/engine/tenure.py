"""A shard's time with a worker: recovered, placed, run in cycles, and all of it again after each doubt."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import msgspec
import structlog

from schemas.state import Change
from schemas.topics import COMMANDS
from sinks.ports import Doubt, Ledger, Publisher, Store, Topics
from stream.engine.cycle import Shard, run_cycle, today
from stream.engine.placing import Placing, is_misplaced
from stream.engine.recovery import Expected, catch_up, recover
from stream.engine.transport import BatchConsumer
from stream.telemetry.intake import IntakeMetrics

log = structlog.get_logger()
# At least between the beginnings of two cycles of a shard, unless a full one waits, or a command. Measured at
# 60 reports/s on 4 shards, without and with it: 1.0 and 3.7 reports a block, 930 and 340 bytes of ledger a
# report, 0.78 and 0.40 cores in use, for a 99th percentile of 60 and 300 ms. (0.2 s: 390 bytes.)
CYCLE_INTERVAL_S = 0.25
IDLE_CHECK_S = 1.0  # one HGET a shard: how long a Redis that went back may go unnoticed
OWED_WAIT_S = 2.0  # for records that are known to exist, of a topic whose broker does not give them
LOOK_INTERVAL_S = 1.0  # between two looks of a shard at its topics
RETRY_DELAYS_S = (0.05, 0.2, 1.0, 2.0, 5.0)


class Services(NamedTuple):
    """What all shards of a worker share."""

    expected: Expected
    store: Store
    ledger: Ledger
    publisher: Publisher
    broker: Topics
    placing: Placing
    metrics: IntakeMetrics


class Tenure:
    """From a shard's assignment to its revocation. `shard` is there while it is recovered, placed and sound.

    `topics`: its sources that were assigned; `moved` is told after each placing and each cycle.
    """

    def __init__(
        self,
        number: int,
        topics: list[str],
        services: Services,
        consumer: BatchConsumer,
        moved: Callable[[Shard], None],
    ) -> None:
        self.number, self.topics = number, topics
        self.shard: Shard | None = None
        self.arrived = asyncio.Event()
        self._expected, self._placing, self._metrics = services.expected, services.placing, services.metrics
        self._store, self._ledger = services.store, services.ledger
        self._publisher, self._broker = services.publisher, services.broker
        self._consumer, self._moved = consumer, moved
        self._ending = False
        self._due_s = 0.0  # when the next cycle may begin though it is small

    def end(self) -> None:
        """Lets the running cycle end; none begins after it."""
        self._ending = True
        self.arrived.set()

    async def run(self) -> None:
        """Holds the shard until `end`. Raises what is no doubt, but something to be mended by somebody."""
        failures, seq = 0, -1  # doubts since the last cycle that came to its end, and where it ended
        while not self._ending:
            try:
                shard = await recover(self.number, self._expected, self._store, self._ledger, self._publisher)
                await self._run_cycles(shard)
            except Doubt as doubt:
                self._metrics.doubted(self.number, doubt)
                if self.shard and self.shard.head.seq > seq:
                    failures, seq = 0, self.shard.head.seq
                # Not all at once: two workers that rebuild one shard in step would undo each other's work.
                jitter = 0.5 + random.random()  # noqa: S311
                delay_s = RETRY_DELAYS_S[min(failures, len(RETRY_DELAYS_S) - 1)] * jitter
                failures += 1
                log.warning("recovering a shard", shard=self.number, why=str(doubt), delay_s=delay_s)
                await asyncio.sleep(delay_s)
            finally:
                await self._drop()

    async def _run_cycles(self, shard: Shard) -> None:
        while not self._ending:
            if is_misplaced(shard, self.topics):
                await self._place(shard)
            await self._look_around(shard)
            if not self._is_due(shard):
                await self._idle(shard)
                continue
            began_s = asyncio.get_running_loop().time()
            with self._metrics.cycle(self.number):
                went_on = await run_cycle(shard, self._store, self._ledger, self._publisher, self._broker)
            self._moved(shard)
            if went_on:
                self._due_s = began_s + CYCLE_INTERVAL_S
            else:
                await self._await_owed(shard)
        if shard.publishing:
            await shard.publishing
        await self._remember_published(shard)

    async def _look_around(self, shard: Shard) -> None:
        """What no record tells, once a second: topics that were made again or are there again."""
        now_s = asyncio.get_running_loop().time()
        if now_s < shard.look_again_s:
            return
        shard.look_again_s = now_s + LOOK_INTERVAL_S
        await self._placing.look(shard, self.topics)
        if shard.lags:
            if shard.publishing:
                await shard.publishing
            await catch_up(shard, self._ledger, self._publisher)

    async def _remember_published(self, shard: Shard) -> None:
        """Tells the next owner that nothing waits to be published: it travels in blocks, and no block comes.

        The same head again, with another `published_to`. Redis takes it only where the head has not moved,
        and it says what is so: publication of all up to there was confirmed. Lost, rolled back or refused, it
        costs the last outcomes a second publication, as after a kill; it can never cost one its first.
        """
        if shard.published_to > shard.head.published_to or shard.lags != shard.head.lags:
            told = msgspec.structs.replace(shard.head, published_to=shard.published_to, lags=dict(shard.lags))
            with suppress(Doubt):
                await self._store.read(shard.number, [], {})
                await self._store.commit(Change(shard.number, told.hash, told, {}, {}, range(0)))

    async def _place(self, shard: Shard) -> None:
        first, self.shard = self.shard is None, shard  # before anything of it is delivered
        await self._placing.place(shard, self.topics, self._consumer)
        if first:
            log.info("shard ready", shard=self.number, seq=shard.head.seq, ledger_end=shard.ledger_end)
        self._moved(shard)

    async def _await_owed(self, shard: Shard) -> None:
        """Waits for what must be decided first; for `commands` as long as it takes, for an app's a while."""
        self.arrived.clear()
        try:
            await asyncio.wait_for(self.arrived.wait(), OWED_WAIT_S)
        except TimeoutError:
            owing = [topic for topic in shard.buffer.owing(today()) if topic != COMMANDS]
            log.warning("records that exist do not come; going on without", shard=self.number, topics=owing)
            shard.buffer.forgive(owing)

    def _is_due(self, shard: Shard) -> bool:
        """Whether the next cycle is to begin: something waits, and has waited, or is a cycle's worth."""
        today_ = today()
        waited = asyncio.get_running_loop().time() >= self._due_s
        return shard.buffer.waiting(today_) and (waited or shard.buffer.is_full(today_))

    async def _idle(self, shard: Shard) -> None:
        """Waits until a cycle is due. What went wrong meanwhile must not wait for it: a publication that
        failed, or a Redis that lost its last writes and would show old balances. Raises `Doubt` for either.
        """
        if shard.publishing:
            await shard.publishing
        while not (self._ending or shard.misplaced or self._is_due(shard)):
            self.arrived.clear()
            gathering = shard.buffer.waiting(today())
            left_s = self._due_s - asyncio.get_running_loop().time() if gathering else IDLE_CHECK_S
            try:
                await asyncio.wait_for(self.arrived.wait(), left_s)
            except TimeoutError:
                if gathering:
                    return
                if (await self._store.read(shard.number, [], {})).head_hash != shard.head.hash:
                    raise Doubt("Redis has another head") from None
                return

    async def _drop(self) -> None:
        shard, self.shard = self.shard, None
        if shard and shard.publishing and not shard.publishing.done():
            shard.publishing.cancel()
            await asyncio.gather(shard.publishing, return_exceptions=True)
