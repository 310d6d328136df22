"""Batch transport: a Faust agent receives whole fetches instead of single records.

Faust spends 57 us on each message it delivers (four asyncio tasks in `wait_first`), whatever the message is.
So one message carries one fetch of one partition. Faust's acknowledgements are not used (it acknowledges what
failed, and forgets what was acknowledged at a rebalance): positions belong to the `Handler`, which stores
them with the effects; the offset committed to Kafka is only a hint for lag tools.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, cast

import faust
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage

from sinks.ports import known
from stream.batches.fetch import Fetch
from stream.batches.reader import Damaged, RawFetch, batches_of, begins
from stream.engine.kafka_clients import hang_up
from stream.engine.raw_consumer import RawConsumer

DAMAGED_MAX = 3  # fetches of one place, before it is called damaged and its source is stopped

# What a fetch waits for, and how long at most. Measured at 16,000 reports/s on two cores, without waiting and
# with it: 50 and 38 us of the intake's CPU a report, outcomes after 1,017 and 496 ms (99th percentile).
FETCH_MIN_BYTES, FETCH_WAIT_MS = 64 * 1024, 50
ANSWER_TIMEOUT_S = 10.0  # where partitions begin and end; nothing is fetched meanwhile
COMMIT_TIMEOUT_S = 3.0
LEAVE_TIMEOUT_S = 5.0


class Handler(Protocol):
    """What stands behind the agent. All methods run in the worker's event loop and must not block."""

    packed: bool  # whether it takes record batches as they are, or ConsumerRecords

    def wants(self, tp: TP) -> bool:
        """Whether to deliver from this partition now: False while it recovers or its buffer is full."""

    async def assigned(self, tps: set[TP], consumer: "BatchConsumer") -> None:
        """The whole new assignment. Nothing is delivered of a partition before `seek_to` placed it."""

    async def revoked(self, tps: set[TP]) -> None:
        """These partitions may already belong to another worker."""

    def take(self, fetch: Fetch) -> None:
        """One fetch. It contradicts the handler's own position if a delivery was lost: then seek again."""

    def stop_source(self, tp: TP, offset: int, reason: str, what: str) -> None:
        """This partition cannot go on at `offset`: `reason` is a word for metrics, `what` a sentence.

        It contradicts the handler's own position if it was placed there before: then seek again.
        """

    async def stop(self) -> None:
        """The worker ends: let go of everything."""

    def position(self, tp: TP) -> int | None:
        """The next offset whose effect is not stored yet; None if not known."""


class BatchConsumer(driver.Consumer):
    """Delivers fetches as `Fetch`es; places partitions only where the handler says."""

    handler: Handler

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.handler = self.app.batch_handler  # type: ignore[attr-defined]  # of faust_app.py
        self._next: dict[TP, int] = {}  # where the next fetch of a placed partition continues
        self._damaged: Counter[TP] = Counter()  # fetches in a row that came damaged
        self._placements = 0  # counts seeks: a fetch that was under way across one proves nothing

    def _new_consumer_thread(self) -> "BatchConsumerThread":
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def seek_to(self, positions: dict[TP, int]) -> None:
        """Places partitions; delivery begins there. Partitions lost meanwhile are ignored."""
        positions = {tp: offset for tp, offset in positions.items() if tp in self.assignment()}
        self._placements += 1
        if positions:
            await self.seek_wait(positions)
            self._next.update(positions)

    async def ends_of(self, tps: list[TP]) -> Mapping[TP, int]:
        """Up to which offset each partition has records that may be read."""
        return await self.highwaters(*tps)

    async def starts_of(self, tps: list[TP]) -> Mapping[TP, int]:
        """The first offset that each partition still has."""
        return await self.earliest_offsets(*tps)

    def partitions_of(self, topic: str) -> int:
        """How many partitions a topic has; 0 where it is missing."""
        return self.topic_partitions(topic) or 0

    async def subscribe_to(self, topics: list[str]) -> None:
        """Reads these topics from now on: the group assigns everything anew."""
        [source] = self.app.topics
        source.topics = topics
        conductor: Any = self.app.topics  # whose types leave out what is meant for Faust alone
        await self.subscribe(await conductor._update_indices())

    async def perform_seek(self) -> None:
        """Faust calls this at the end of each rebalance, to seek to committed offsets."""
        self._next.clear()
        await self.handler.assigned(set(self.assignment()), self)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._next.clear()
        await self.handler.revoked(set(revoked))
        await super().on_partitions_revoked(revoked)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        wanted = {tp for tp in active_partitions or () if tp in self._next and self.handler.wants(tp)}
        if not wanted:
            await asyncio.sleep(0.005)  # backpressure: nothing is wanted before a cycle of some 50 ms ends
            return {}
        return await super()._getmany(wanted, min(timeout, 0.05))

    async def getmany(self, timeout: float) -> Any:
        placements = self._placements
        records, _ = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if not records or self.should_stop or not self.flow_active:
            return
        fetches = []
        for tp, fetched in records.items():
            first = self._next.get(tp)
            if first is None:
                continue
            stale = placements != self._placements or _first_of(fetched) < first
            if not await self._continues(tp, first, fetched, stale):
                continue
            if fetch := await self._read(tp, first, fetched):
                fetches.append((tp, fetch))
        last_of_shard = {tp.partition: tp for tp, _ in fetches}
        for tp, fetch in fetches:
            if not self.flow_active or generation != self.app.consumer_generation_id:
                return
            self._next[tp] = fetch.next
            yield tp, _message(tp, fetch._replace(more=last_of_shard[tp.partition] != tp), generation)

    async def _continues(self, tp: TP, first: int, fetched: list, stale: bool) -> bool:
        """Whether a fetch goes on where its partition stands; else it is fetched again, or stops."""
        try:
            if stale:
                if await self._reaches(tp, first):
                    await self.seek_to({tp: first})
                return False
            return _first_of(fetched) == first or not await self._is_deleted(tp, first)
        except (KafkaError, TimeoutError):  # nobody answers, and an error here would end the worker
            await self.seek_to({tp: first})
            return False

    async def _read(self, tp: TP, first: int, fetched: list) -> Fetch | None:
        """What was fetched, as a `Fetch`; None if it came damaged and is fetched again."""
        if fetched[0].__class__ is not RawFetch:
            return Fetch(tp.topic, tp.partition, first, fetched[-1].offset + 1, fetched)
        [raw] = fetched
        raw = raw._replace(first=first)
        try:
            batches = batches_of(raw)
        except Damaged as error:
            self._damaged[tp] += 1
            if self._damaged[tp] > DAMAGED_MAX:
                self._stop(tp, first, "damaged", f"offset {first} comes damaged from the broker: {error}")
            else:
                await self.seek_to({tp: first})
            return None
        self._damaged[tp] = 0
        return Fetch(tp.topic, tp.partition, first, raw.next, batches, raw.last_stable_offset)

    async def _is_deleted(self, tp: TP, first: int) -> bool:
        """A gap is legal where transactions ended or were aborted, and a loss where the log begins later."""
        start = (await self.earliest_offsets(tp))[tp]
        if start > first:
            self._stop(tp, first, "deleted_unread", f"offsets {first} to {start - 1} were deleted unread")
        return start > first

    async def _reaches(self, tp: TP, first: int) -> bool:
        """Older records than asked for: from before a seek, or of a topic that is not the one it was."""
        end = (await self.ends_of([tp]))[tp]
        if end < first:
            what = f"it ends at {end}, below offset {first}, which is due: it was made again, or lost records"
            self._stop(tp, first, "made_again", what)
        return end >= first

    def _stop(self, tp: TP, offset: int, reason: str, what: str) -> None:
        self._next.pop(tp, None)
        self.handler.stop_source(tp, offset, reason, what)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Faust's own gap bookkeeping is off by one and not needed: positions are the handler's."""

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.handler.position(tp)

    async def verify_all_partitions_active(self) -> None:
        """Faust's livelock warnings assume its own acknowledgements."""


def _first_of(fetched: list) -> int:
    """The first offset that a fetch holds: it may begin within a batch."""
    if fetched[0].__class__ is RawFetch:
        return max(fetched[0].first, begins(fetched[0]))
    return fetched[0].offset


def _message(tp: TP, fetch: Fetch, generation: int) -> ConsumerMessage:
    value: Any = fetch  # bytes, says Faust; `BatchSchema` hands over whatever it is
    return ConsumerMessage(
        tp.topic, tp.partition, fetch.next - 1, 0.0, 0, None, None, value, None, 0, 0, tp,
        generation_id=generation,
    )  # fmt: skip


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """Reads committed records only: what an app's transaction took back was never reported.

    What apps send comes packed, as bytes: whatever is in it must not end the consumer.
    """

    _committing: asyncio.Task | None = None

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # Faust offers it together with its transactions only
        if cast(BatchConsumer, self.consumer).handler.packed:
            consumer.__class__ = RawConsumer
        consumer._fetch_min_bytes, consumer._fetch_max_wait_ms = FETCH_MIN_BYTES, FETCH_WAIT_MS
        return consumer

    async def highwaters(self, *partitions: TP) -> dict[TP, int]:
        return await self.call_thread(self._answer, self._ensure_consumer().end_offsets, partitions)

    async def earliest_offsets(self, *partitions: TP) -> dict[TP, int]:
        return await self.call_thread(self._answer, self._ensure_consumer().beginning_offsets, partitions)

    async def _answer(self, ask: Callable[..., Awaitable], partitions: tuple[TP, ...]) -> dict[TP, int]:
        """Whoever does not answer in time is asked over another connection the next time. aiokafka closes one
        after a request that took too long, but not after one that was given up, as this one is: a connection
        that fell silent, as of a machine that lost its power, would be asked for ever."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await ask(partitions)
        except TimeoutError:
            hang_up(self._ensure_consumer()._client)
            raise TimeoutError(f"no answer within {ANSWER_TIMEOUT_S:.0f} s") from None

    async def on_thread_stop(self) -> None:
        """Leaves the group, if Kafka answers: else the others wait for the session's end, as after a kill."""
        leaving = asyncio.ensure_future(super().on_thread_stop())
        await asyncio.wait([leaving], timeout=LEAVE_TIMEOUT_S)
        leaving.cancel()  # a broken client raises anything, even that it was cancelled: then it is gone, too
        await asyncio.gather(leaving, return_exceptions=True)
        if self._committing:
            self._committing.cancel()

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """A commit is a hint, and the next one comes a second later: it waits for nobody, and a failed one is
        nothing. aiokafka would try until Kafka is back, which kept a worker from ending; Faust ends a worker
        whose commit fails, as it does when the broker dies, or between a subscription and its assignment
        (kin: faust-streaming#94). It is left to itself, not cancelled: aiokafka shields the request, and what
        that meets when nobody waits for it any more would end the worker, too."""
        mine = {
            driver.ensure_aiokafka_TP(tp): driver.OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
            if tp in self.assignment()
        }
        if not mine or (self._committing and not self._committing.done()):
            return False
        self._committing = asyncio.ensure_future(self._ensure_consumer().commit(mine))
        self._committing.add_done_callback(known)
        answered, _ = await asyncio.wait([self._committing], timeout=COMMIT_TIMEOUT_S)
        try:
            return bool(answered) and self._committing.result() is None
        except KafkaError:
            return False


class BatchTransport(driver.Transport):
    """The aiokafka driver with `BatchConsumer`."""

    Consumer = BatchConsumer


class BatchSchema(faust.Schema):
    """Hands a `Fetch` through undecoded: decoding is the cycle's, many records at a time."""

    def compile(self, app: Any, **_: Any) -> Any:
        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode
