"""The intake worker: one Faust agent over all intake topics and commands; one task a shard."""

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from faust.types.tuples import TP

from schemas.state import Source
from schemas.topics import COMMANDS, intake_topic
from sinks.ports import Doubt, Ledger, Publisher, Store, Topics
from stream.cycle import Shard, run_cycle, today
from stream.errors import end_process
from stream.metrics.intake import IntakeMetrics
from stream.metrics.ports import WatchedLedger, WatchedPublisher, WatchedStore
from stream.recovery import Expected, recover
from stream.transport import BatchConsumer, Fetch

log = structlog.get_logger()
CYCLE_END_TIMEOUT_S = 5.0  # at a rebalance a running cycle may end; the broker waits 10 s for us to rejoin
IDLE_CHECK_S = 1.0  # one HGET a shard: how long a Redis that went back may go unnoticed
OWED_WAIT_S = 2.0  # for records that are known to exist, of a topic whose broker does not give them
TAKE_UP_DELAY_S = 1.0  # apps registered in one go cost one rebalance, not one each
RETRY_DELAYS_S = (0.05, 0.2, 1.0, 2.0, 5.0)


class Intake:
    """`stream.transport.Handler` that runs cycles. A shard is in `_shards` while recovered and sound."""

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
        self._broker = topics
        self._topics = {COMMANDS, *map(intake_topic, apps)}
        self._sources: dict[int, list[str]] = {}  # topics of the shards that are this worker's
        # Sources that cannot go on, with where they stood: only an adoption moves them.
        self._stopped: dict[TP, tuple[Source, str]] = {}
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

    def stop_source(self, tp: TP, reason: str, what: str) -> None:
        shard = self._shards.get(tp.partition)
        if shard is None or (source := shard.head.sources.get(tp.topic)) is None:
            return
        self._stopped[tp] = (source, reason)
        shard.misplaced = True
        self._arrived[tp.partition].set()
        log.error(
            "a source cannot go on; the others do", topic=tp.topic, shard=tp.partition, why=what,
            todo=f"run `points topics adopt {tp.topic}`; see docs/runbook.md, a source that stopped",
        )  # fmt: skip

    async def assigned(self, tps: set[TP], consumer: BatchConsumer) -> None:
        await self.revoked(tps)
        await self._publisher.start()
        self._consumer, self._stopping = consumer, False
        self._sources = self._owned(tps)
        self.metrics.assigned(set(self._sources), consumer)
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
            if number >= self._expected.shards:
                log.warning("a surplus partition is not read", topics=topics, partition=number)
                continue
            waiting = self._topics - set(topics) if COMMANDS in topics else topics
            if waiting:
                log.warning("topics wait until all workers know them", shard=number, topics=sorted(waiting))
        return {
            number: topics
            for number, topics in sources.items()
            if COMMANDS in topics and number < self._expected.shards
        }

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
            self._seek = asyncio.ensure_future(self._consumer.seek_to({tp: due}))

    async def _run(self, number: int) -> None:
        failures, seq = 0, -1  # doubts since the last cycle that came to its end, and where it ended
        while not self._stopping:
            try:
                shard = await recover(number, self._expected, self._store, self._ledger, self._publisher)
                await self._place(shard)
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

    async def _place(self, shard: Shard) -> None:
        """Tells the transport where to continue: where the head says, each source that may go on."""
        number = shard.number
        ids = await self._broker.ids(self._sources[number])
        sources = {topic: s for topic in self._sources[number] if (s := self._continued(shard, topic, ids))}
        try:
            if COMMANDS not in sources:
                sources[COMMANDS] = await self._not_adopted(TP(COMMANDS, number), ids)
            tps = {topic: TP(topic, number) for topic in sources}
            ends = await self._consumer.ends_of(list(tps.values()))
        except (KafkaError, TimeoutError) as error:
            raise Doubt(f"ends of topics: {error!r}") from error
        shard.open_buffer(sources, {topic: ends[tp] for topic, tp in tps.items()})
        heads = shard.head.sources
        shard.unread = {
            topic: source
            for topic in self._sources[number]
            if (source := heads.get(topic)) and sources.get(topic) != source
        }
        shard.misplaced = False
        self.metrics.ready(shard, sources)
        self._shards[number] = shard
        self._learn_apps(shard)
        await self._consumer.seek_to({tps[topic]: source.next for topic, source in sources.items()})

    async def _not_adopted(self, commands: TP, ids: dict[str, str]) -> Source:
        """Topic `commands` where it is not what it was: it may begin with the word how it goes on."""
        if COMMANDS not in ids:
            raise Doubt("topic commands is missing: run `points up`, then `points topics adopt commands`")
        return Source(ids[COMMANDS], (await self._consumer.starts_of([commands]))[commands])

    def _is_moved(self, shard: Shard) -> bool:
        """Whether a command registered a source, or moved one."""
        read = shard.buffer.sources
        for topic in self._sources[shard.number]:
            if source := shard.head.sources.get(topic):
                if topic in shard.unread:
                    if shard.unread[topic] != source:
                        return True
                elif read.get(topic) != (source.topic_id, source.next):
                    return True
        return False

    def _continued(self, shard: Shard, topic: str, ids: dict[str, str]) -> Source | None:
        """Where a source of the shard goes on; None if it does not, or not yet."""
        source, tp = shard.head.sources.get(topic), TP(topic, shard.number)
        stopped = self._stopped.get(tp)
        if stopped and stopped[0] != source:
            stopped = self._stopped.pop(tp, None) and None
        if source and ids.get(topic) == source.topic_id and not stopped:
            return source
        if source:
            reason = stopped[1] if stopped else "made_again" if topic in ids else "missing"
            self.metrics.source_stopped(tp, reason)
            log.warning("a source is not read", topic=topic, shard=shard.number, reason=reason)
        return None

    async def _run_cycles(self, shard: Shard) -> None:
        log.info("shard ready", shard=shard.number, seq=shard.head.seq, ledger_end=shard.ledger_end)
        while not self._stopping:
            if shard.misplaced or self._is_moved(shard):
                await self._place(shard)
            if not shard.buffer.waiting(today()):
                await self._idle(shard)
                continue
            with self.metrics.cycle(shard.number):
                went_on = await run_cycle(shard, self._store, self._ledger, self._publisher, self._broker)
            self._learn_apps(shard)
            if not went_on:
                await self._await_owed(shard)
        if shard.publishing:
            await shard.publishing

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

    async def _idle(self, shard: Shard) -> None:
        """Waits for records. What went wrong meanwhile must not wait for them: a publication that failed, or
        a Redis that lost its last writes and would show old balances. Raises `Doubt` for either."""
        arrived = self._arrived[shard.number]
        arrived.clear()
        if shard.publishing:
            await shard.publishing
        while not (self._stopping or shard.misplaced or shard.buffer.waiting(today())):
            try:
                await asyncio.wait_for(arrived.wait(), IDLE_CHECK_S)
            except TimeoutError:
                if (await self._store.read(shard.number, [], {})).head_hash != shard.head.hash:
                    raise Doubt("Redis has another head") from None
                await self._check_ids(shard)

    async def _check_ids(self, shard: Shard) -> None:
        """A topic that was made again, or is there again, need not have records to be noticed."""
        ids = await self._broker.ids(self._sources[shard.number])
        for topic in self._sources[shard.number]:
            known = shard.head.sources.get(topic)
            if known and TP(topic, shard.number) not in self._stopped:
                is_there = ids.get(topic) == known.topic_id
                shard.misplaced = shard.misplaced or is_there == (topic in shard.unread)

    async def _drop(self, number: int) -> None:
        shard = self._shards.pop(number, None)
        if shard and shard.publishing and not shard.publishing.done():
            shard.publishing.cancel()
            await asyncio.gather(shard.publishing, return_exceptions=True)
