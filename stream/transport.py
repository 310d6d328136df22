"""Batch transport: a Faust agent receives whole fetches instead of single records.

Faust spends 57 us on each message it delivers (four asyncio tasks in `wait_first`), whatever the message is.
So one message carries one fetch of one partition. Faust's acknowledgements are not used (it acknowledges what
failed, and forgets what was acknowledged at a rebalance): positions belong to the `Handler`, which stores
them with the effects; the offset committed to Kafka is only a hint for lag tools.
"""

import asyncio
from typing import Any, NamedTuple, Protocol

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage

from stream.errors import OperatorError, end_process

COMMIT_TIMEOUT_S = 3.0
LEAVE_TIMEOUT_S = 5.0


class Batch(NamedTuple):
    """One fetch of one partition: offsets `first` <= o < `next`; `first` is where the fetch was to continue.

    `records` are aiokafka ConsumerRecords in offset order; offsets may be missing (transaction markers).
    `more`: another topic's batch of the same shard, of the same fetch, follows at once.
    """

    topic: str
    partition: int
    first: int
    next: int
    records: list[Any]
    more: bool = False


class Handler(Protocol):
    """What stands behind the agent. All methods run in the worker's event loop and must not block."""

    def wants(self, tp: TP) -> bool:
        """Whether to deliver from this partition now: False while it recovers or its buffer is full."""

    async def assigned(self, tps: set[TP], consumer: "BatchConsumer") -> None:
        """The whole new assignment. Nothing is delivered of a partition before `seek_to` placed it."""

    async def revoked(self, tps: set[TP]) -> None:
        """These partitions may already belong to another worker."""

    def take(self, batch: Batch) -> None:
        """One batch. It contradicts the handler's own position if a delivery was lost: then seek again."""

    async def stop(self) -> None:
        """The worker ends: let go of everything."""

    def position(self, tp: TP) -> int | None:
        """The next offset whose effect is not stored yet; None if not known."""


class BatchConsumer(driver.Consumer):
    """Delivers fetches as `Batch`es; places partitions only where the handler says."""

    handler: Handler

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.handler = self.app.batch_handler
        self._next: dict[TP, int] = {}  # where the next fetch of a placed partition continues
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

    async def end_of(self, tp: TP) -> int:
        """The offset that the next record of a partition will get."""
        return (await self.highwaters(tp))[tp]

    async def subscribe_to(self, topics: list[str]) -> None:
        """Reads these topics from now on: the group assigns everything anew."""
        [source] = self.app.topics
        source.topics = topics
        await self.subscribe(await self.app.topics._update_indices())

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
        batches = []
        for tp, fetched in records.items():
            first = self._next.get(tp)
            if first is None:
                continue
            if placements != self._placements or fetched[0].offset < first:
                await self._check_end(tp, first)
                await self.seek_to({tp: first})
                continue
            if fetched[0].offset > first:
                await self._check_gap(tp, first)
            batches.append((tp, Batch(tp.topic, tp.partition, first, fetched[-1].offset + 1, fetched)))
        last_of_shard = {tp.partition: tp for tp, _ in batches}
        for tp, batch in batches:
            if not self.flow_active or generation != self.app.consumer_generation_id:
                return
            self._next[tp] = batch.next
            yield tp, _message(tp, batch._replace(more=last_of_shard[tp.partition] != tp), generation)

    async def _check_gap(self, tp: TP, first: int) -> None:
        """A gap is legal where transactions ended or were aborted, and a loss where the log begins later."""
        start = (await self.earliest_offsets(tp))[tp]
        if start > first:
            end_process(
                OperatorError(
                    f"{tp.topic}/{tp.partition}: offsets {first} to {start - 1} were deleted unread.",
                    "nothing here can bring them back: see docs/runbook.md, records deleted unread.",
                )
            )

    async def _check_end(self, tp: TP, first: int) -> None:
        """Older records than asked for: from before a seek, or of a topic that is not the one it was."""
        end = await self.end_of(tp)
        if end < first:
            end_process(
                OperatorError(
                    f"{tp.topic}/{tp.partition} ends at {end}, but {first} offsets of it were decided:"
                    " the topic was deleted and made again, or lost records.",
                    "see docs/runbook.md, topic made again: offsets must not be used twice.",
                )
            )

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Faust's own gap bookkeeping is off by one and not needed: positions are the handler's."""

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.handler.position(tp)

    async def verify_all_partitions_active(self) -> None:
        """Faust's livelock warnings assume its own acknowledgements."""


def _message(tp: TP, batch: Batch, generation: int) -> ConsumerMessage:
    return ConsumerMessage(
        tp.topic,
        tp.partition,
        batch.next - 1,
        0.0,
        0,
        None,
        None,
        batch,
        None,
        0,
        0,
        tp,
        generation_id=generation,
    )


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """Reads committed records only: what an app's transaction took back was never reported."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # Faust offers it together with its transactions only
        consumer._fetch_max_wait_ms = 100  # Faust's 1,500 would be the first answer's latency after a pause
        return consumer

    async def on_thread_stop(self) -> None:
        """Leaves the group, if Kafka answers: else the others wait for the session's end, as after a kill."""
        leaving = asyncio.ensure_future(super().on_thread_stop())
        await asyncio.wait([leaving], timeout=LEAVE_TIMEOUT_S)
        leaving.cancel()  # a broken client raises anything, even that it was cancelled: then it is gone, too
        await asyncio.gather(leaving, return_exceptions=True)

    async def _commit(self, offsets: dict[TP, int]) -> bool:
        """A commit is a hint, and the next one comes a second later: it waits for nobody. aiokafka would try
        until Kafka is back, which kept a worker from ending, and between a subscription and its assignment it
        raises, which ended one (kin: faust-streaming#94)."""
        mine = {tp: offset for tp, offset in offsets.items() if tp in self.assignment()}
        if not mine:
            return False
        try:
            return await asyncio.wait_for(super()._commit(mine), COMMIT_TIMEOUT_S)
        except TimeoutError:
            return False


class BatchTransport(driver.Transport):
    """The aiokafka driver with `BatchConsumer`."""

    Consumer = BatchConsumer


class BatchSchema(faust.Schema):
    """Hands a `Batch` through undecoded: decoding is the cycle's, many records at a time."""

    def compile(self, app: Any, *, on_key_decode_error: Any = None, on_value_decode_error: Any = None) -> Any:
        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode
