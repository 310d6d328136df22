"""The intake worker: one Faust agent over all intake topics and commands; one task a shard."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from faust.types.tuples import TP

from schemas.topics import COMMANDS, intake_topic
from sinks.ports import Ledger, Publisher, Store, Topics
from stream.batches.fetch import Fetch
from stream.engine.cycle import Shard, today
from stream.engine.placing import Placing
from stream.engine.recovery import Expected
from stream.engine.tenure import Services, Tenure
from stream.engine.transport import BatchConsumer
from stream.errors import end_process
from stream.telemetry.intake import IntakeMetrics
from stream.telemetry.ports import WatchedLedger, WatchedPublisher, WatchedStore

log = structlog.get_logger()
CYCLE_END_TIMEOUT_S = 5.0  # at a rebalance a running cycle may end; the broker waits 10 s for us to rejoin
TAKE_UP_DELAY_S = 1.0  # apps registered in one go cost one rebalance, not one each


class Intake:
    """`transport.Handler` that has each of its shards run cycles, and hands over what was fetched for it."""

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
        self._fail = fail
        self.metrics = metrics = IntakeMetrics(expected.shards)
        self._services = Services(
            expected,
            WatchedStore(store, metrics),
            WatchedLedger(ledger, metrics),
            WatchedPublisher(publisher, metrics),
            topics,
            Placing(topics, metrics),
            metrics,
        )
        self._topics = {COMMANDS, *map(intake_topic, apps)}
        self._tenures: dict[int, Tenure] = {}
        self._tasks: list[asyncio.Task] = []
        self._consumer: BatchConsumer  # from the first assignment on
        self._seek: asyncio.Future | None = None
        self._taking_up: asyncio.Future | None = None

    @property
    def topics(self) -> list[str]:
        """All topics that this worker reads."""
        return sorted(self._topics)

    packed = True

    def wants(self, tp: TP) -> bool:
        shard = self._shard(tp)
        return shard is not None and shard.buffer.wants(tp.topic, today())

    def position(self, tp: TP) -> int | None:
        shard = self._shard(tp)
        source = shard.head.sources.get(tp.topic) if shard else None
        return source.next if source else None

    def stop_source(self, tp: TP, offset: int, reason: str, what: str) -> None:
        shard = self._shard(tp)
        if shard is None or (due := shard.buffer.next_of(tp.topic)) is None:
            return
        if offset == due:
            self._services.placing.stop(shard, tp, reason, what)
            self._tenures[tp.partition].arrived.set()
        else:  # placed there by a shard that has moved on since
            self._seek_to(tp, due)

    async def assigned(self, tps: set[TP], consumer: BatchConsumer) -> None:
        await self.revoked(tps)
        await self._services.publisher.start()
        self._consumer = consumer
        self._services.placing.begin()
        self._tenures = {
            number: Tenure(number, topics, self._services, consumer, self._learn_apps)
            for number, topics in self._owned(tps).items()
        }
        self.metrics.assigned({*self._tenures}, consumer)
        self._tell_surplus()
        self._tasks = [asyncio.ensure_future(self._hold(tenure)) for tenure in self._tenures.values()]

    async def _hold(self, tenure: Tenure) -> None:
        try:
            await tenure.run()
        except Exception as error:
            self._fail(error)

    def _shard(self, tp: TP) -> Shard | None:
        """The shard that this is a source of, while it is recovered, placed and sound."""
        tenure = self._tenures.get(tp.partition)
        return tenure.shard if tenure else None

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
            self.metrics.surplus(topic, max(0, partitions - self._services.expected.shards))
            if partitions > self._services.expected.shards:
                log.warning("partitions that are no shard's are not read", topic=topic, partitions=partitions)

    async def revoked(self, tps: set[TP]) -> None:
        """Lets running cycles end, then forgets everything: recovery finds it again."""
        for tenure in self._tenures.values():
            tenure.end()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CYCLE_END_TIMEOUT_S)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tenures, self._tasks = {}, []

    async def stop(self) -> None:
        if self._taking_up:
            self._taking_up.cancel()
        await self.revoked(set())
        for end in (self._services.ledger, self._services.publisher, self._services.store):
            await end.close()

    def take(self, fetch: Fetch) -> None:
        tp = TP(fetch.topic, fetch.partition)
        shard = self._shard(tp)
        if shard is None or (due := shard.buffer.next_of(fetch.topic)) is None:
            return  # it is being recovered, and placed anew after that; or its source cannot go on
        if shard.buffer.add(fetch):
            self.metrics.delivered(fetch)
            if not fetch.more:
                self._tenures[fetch.partition].arrived.set()
        else:
            log.warning(
                "a delivery was lost on its way: fetching it again", topic=tp.topic, shard=tp.partition
            )
            self._seek_to(tp, due)

    def _seek_to(self, tp: TP, offset: int) -> None:
        self._seek = asyncio.ensure_future(self._consumer.seek_to({tp: offset}))

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
