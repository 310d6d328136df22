"""The intake worker: one Faust agent over all intake topics and commands; one task a shard."""

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import msgspec
import structlog
from faust.types.tuples import TP

from schemas.state import Change
from schemas.topics import COMMANDS, intake_topic
from sinks.ports import Doubt, Ledger, Publisher, Store, Topics
from stream.batches.fetch import Fetch
from stream.engine.cycle import Shard, run_cycle, today
from stream.engine.placing import Placing, is_misplaced
from stream.engine.recovery import Expected, catch_up, recover
from stream.engine.transport import BatchConsumer
from stream.errors import end_process
from stream.telemetry.intake import IntakeMetrics
from stream.telemetry.ports import WatchedLedger, WatchedPublisher, WatchedStore

log = structlog.get_logger()
CYCLE_END_TIMEOUT_S = 5.0  # at a rebalance a running cycle may end; the broker waits 10 s for us to rejoin
# At least between the beginnings of two cycles of a shard, unless a full one waits, or a command. Measured at
# 60 reports/s on 4 shards, without and with it: 1.0 and 3.7 reports a block, 930 and 340 bytes of ledger a
# report, 0.78 and 0.40 cores in use, for a 99th percentile of 60 and 300 ms. (0.2 s: 390 bytes.)
CYCLE_INTERVAL_S = 0.25
IDLE_CHECK_S = 1.0  # one HGET a shard: how long a Redis that went back may go unnoticed
OWED_WAIT_S = 2.0  # for records that are known to exist, of a topic whose broker does not give them
LOOK_INTERVAL_S = 1.0  # between two looks of a shard at its topics
TAKE_UP_DELAY_S = 1.0  # apps registered in one go cost one rebalance, not one each
RETRY_DELAYS_S = (0.05, 0.2, 1.0, 2.0, 5.0)


class Intake:
    """`transport.Handler` that runs cycles. A shard is in `_shards` while recovered and sound."""

    def __init__(
        self,
        expected: Expected,
        apps: Iterable[str],
        store: Store,
        ledger: Ledger,
        publisher: Publisher,
        topics: Topics,
        fail: Callable[[BaseException], Any] = end_process,
    ) -> None:
        self._expected, self._fail = expected, fail
        self.metrics = IntakeMetrics(expected.shards)
        self._store = WatchedStore(store, self.metrics)
        self._ledger = WatchedLedger(ledger, self.metrics)
        self._publisher = WatchedPublisher(publisher, self.metrics)
        self._broker, self._placing = topics, Placing(topics, self.metrics)
        self._topics = {COMMANDS, *map(intake_topic, apps)}
        self._sources: dict[int, list[str]] = {}  # topics of the shards that are this worker's
        self._shards: dict[int, Shard] = {}
        self._tasks: dict[int, asyncio.Task] = {}
        self._arrived: dict[int, asyncio.Event] = {}
        self._stopping = False
        self._consumer: BatchConsumer | None = None
        self._seek: asyncio.Future | None = None
        self._taking_up: asyncio.Future | None = None

    @property
    def topics(self) -> list[str]:
        """All topics that this worker reads."""
        return sorted(self._topics)

    packed = True

    def wants(self, tp: TP) -> bool:
        shard = self._shards.get(tp.partition)
        return shard is not None and shard.buffer.wants(tp.topic, today())

    def position(self, tp: TP) -> int | None:
        shard = self._shards.get(tp.partition)
        return shard and (source := shard.head.sources.get(tp.topic)) and source.next

    def stop_source(self, tp: TP, offset: int, reason: str, what: str) -> None:
        shard = self._shards.get(tp.partition)
        if shard is None or (due := shard.buffer.next_of(tp.topic)) is None:
            return
        if offset == due:
            self._placing.stop(shard, tp, reason, what)
            self._arrived[tp.partition].set()
        else:  # placed there by a shard that has moved on since
            self._seek_to(tp, due)

    async def assigned(self, tps: set[TP], consumer: BatchConsumer) -> None:
        await self.revoked(tps)
        await self._publisher.start()
        self._consumer, self._stopping = consumer, False
        self._sources = self._owned(tps)
        self._placing.begin()
        self.metrics.assigned(set(self._sources), consumer)
        self._tell_surplus()
        for number in self._sources:
            self._arrived[number] = asyncio.Event()
            self._tasks[number] = asyncio.ensure_future(self._run(number))

    def _owned(self, tps: set[TP]) -> dict[int, list[str]]:
        """The topics of each shard that is this worker's: who has a shard's `commands` has the shard.

        While workers that know an app and workers that do not yet are in one group, the app's topic may be
        assigned apart from its shard. It waits there, and is read from its position in the ledger once all
        workers know the app.
        """
        sources: dict[int, list[str]] = {}
        for tp in sorted(tps):
            sources.setdefault(tp.partition, []).append(tp.topic)
        for number, topics in sorted(sources.items()):
            waiting = self._topics - set(topics) if COMMANDS in topics else topics
            if waiting:
                log.warning("topics wait until all workers know them", shard=number, topics=sorted(waiting))
        return {number: topics for number, topics in sources.items() if COMMANDS in topics}

    def _tell_surplus(self) -> None:
        """Partitions beyond the shards are nobody's: what an app sends there gets no outcome."""
        for topic in self.topics:
            partitions = self._consumer.partitions_of(topic)
            self.metrics.surplus(topic, max(0, partitions - self._expected.shards))
            if partitions > self._expected.shards:
                log.warning("partitions that are no shard's are not read", topic=topic, partitions=partitions)

    async def revoked(self, tps: set[TP]) -> None:
        """Lets running cycles end, then forgets everything: recovery finds it again."""
        self._stopping = True
        for event in self._arrived.values():
            event.set()
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=CYCLE_END_TIMEOUT_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._shards.clear()
        self._tasks.clear()

    async def stop(self) -> None:
        if self._taking_up:
            self._taking_up.cancel()
        await self.revoked(set())
        for end in (self._ledger, self._publisher, self._store):
            await end.close()

    def take(self, fetch: Fetch) -> None:
        shard = self._shards.get(fetch.partition)
        if shard is None or (due := shard.buffer.next_of(fetch.topic)) is None:
            return  # it is being recovered, and placed anew after that; or its source cannot go on
        if shard.buffer.add(fetch):
            self.metrics.delivered(fetch)
            if not fetch.more:
                self._arrived[fetch.partition].set()
        else:
            tp = TP(fetch.topic, fetch.partition)
            log.warning(
                "a delivery was lost on its way: fetching it again", topic=tp.topic, shard=tp.partition
            )
            self._seek_to(tp, due)

    def _seek_to(self, tp: TP, offset: int) -> None:
        self._seek = asyncio.ensure_future(self._consumer.seek_to({tp: offset}))

    async def _run(self, number: int) -> None:
        failures, seq = 0, -1  # doubts since the last cycle that came to its end, and where it ended
        while not self._stopping:
            try:
                shard = await recover(number, self._expected, self._store, self._ledger, self._publisher)
                await self._run_cycles(shard)
            except Doubt as doubt:
                self.metrics.doubted(number, doubt)
                if (placed := self._shards.get(number)) and placed.head.seq > seq:
                    failures, seq = 0, placed.head.seq
                # Not all at once: two workers that rebuild one shard in step would undo each other's work.
                jitter = 0.5 + random.random()  # noqa: S311
                delay_s = RETRY_DELAYS_S[min(failures, len(RETRY_DELAYS_S) - 1)] * jitter
                failures += 1
                log.warning("recovering a shard", shard=number, why=str(doubt), delay_s=delay_s)
                await asyncio.sleep(delay_s)
            except Exception as error:
                self._fail(error)
            finally:
                await self._drop(number)

    async def _run_cycles(self, shard: Shard) -> None:
        topics = self._sources[shard.number]
        while not self._stopping:
            if is_misplaced(shard, topics):
                await self._place(shard, topics)
            await self._look_around(shard, topics)
            if not self._is_due(shard):
                await self._idle(shard)
                continue
            began_s = asyncio.get_running_loop().time()
            with self.metrics.cycle(shard.number):
                went_on = await run_cycle(shard, self._store, self._ledger, self._publisher, self._broker)
            self._learn_apps(shard)
            if went_on:
                shard.due_s = began_s + CYCLE_INTERVAL_S
            else:
                await self._await_owed(shard)
        if shard.publishing:
            await shard.publishing
        await self._remember_published(shard)

    async def _look_around(self, shard: Shard, topics: list[str]) -> None:
        """What no record tells, once a second: topics that were made again or are there again."""
        now_s = asyncio.get_running_loop().time()
        if now_s < shard.look_again_s:
            return
        shard.look_again_s = now_s + LOOK_INTERVAL_S
        await self._placing.look(shard, topics)
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

    async def _place(self, shard: Shard, topics: list[str]) -> None:
        first = shard.number not in self._shards
        self._shards[shard.number] = shard  # before anything of it is delivered
        await self._placing.place(shard, topics, self._consumer)
        if first:
            log.info("shard ready", shard=shard.number, seq=shard.head.seq, ledger_end=shard.ledger_end)
        self._learn_apps(shard)

    async def _await_owed(self, shard: Shard) -> None:
        """Waits for what must be decided first; for `commands` as long as it takes, for an app's a while."""
        arrived = self._arrived[shard.number]
        arrived.clear()
        try:
            await asyncio.wait_for(arrived.wait(), OWED_WAIT_S)
        except TimeoutError:
            owing = [topic for topic in shard.buffer.owing(today()) if topic != COMMANDS]
            log.warning("records that exist do not come; going on without", shard=shard.number, topics=owing)
            shard.buffer.forgive(owing)

    def _learn_apps(self, shard: Shard) -> None:
        """Takes up the topics of apps that were registered since this worker started."""
        known = self._topics | {intake_topic(app) for app in shard.head.apps}
        if known != self._topics:
            log.info("new apps", topics=sorted(known - self._topics))
            self._topics = known
            if self._taking_up is None or self._taking_up.done():
                self._taking_up = asyncio.ensure_future(self._take_up())

    async def _take_up(self) -> None:
        try:
            await asyncio.sleep(TAKE_UP_DELAY_S)
            await self._consumer.subscribe_to(self.topics)
        except Exception as error:
            self._fail(error)

    def _is_due(self, shard: Shard) -> bool:
        """Whether the next cycle is to begin: something waits, and has waited, or is a cycle's worth."""
        today_ = today()
        waited = asyncio.get_running_loop().time() >= shard.due_s
        return shard.buffer.waiting(today_) and (waited or shard.buffer.is_full(today_))

    async def _idle(self, shard: Shard) -> None:
        """Waits until a cycle is due. What went wrong meanwhile must not wait for it: a publication that
        failed, or a Redis that lost its last writes and would show old balances. Raises `Doubt` for either.
        """
        arrived = self._arrived[shard.number]
        if shard.publishing:
            await shard.publishing
        while not (self._stopping or shard.misplaced or self._is_due(shard)):
            arrived.clear()
            gathering = shard.buffer.waiting(today())
            left_s = shard.due_s - asyncio.get_running_loop().time() if gathering else IDLE_CHECK_S
            try:
                await asyncio.wait_for(arrived.wait(), left_s)
            except TimeoutError:
                if gathering:
                    return
                if (await self._store.read(shard.number, [], {})).head_hash != shard.head.hash:
                    raise Doubt("Redis has another head") from None
                return

    async def _drop(self, number: int) -> None:
        shard = self._shards.pop(number, None)
        if shard and shard.publishing and not shard.publishing.done():
            shard.publishing.cancel()
            await asyncio.gather(shard.publishing, return_exceptions=True)
