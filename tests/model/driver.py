"""One shard's world in memory: sources, ledger, store, outcomes, and workers that run as a Tenure does.

`Faulty` stands between a worker and its ports, counts their calls, and lets one of them go wrong. After
whatever happened, `World.check` says whether every promise of the protocol holds.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from schemas.block import Block, Span, genesis_block, open_block
from schemas.ledger_record import LedgerRecord
from schemas.limits import FAIR_ROWS_S
from schemas.outcome import messages_of
from schemas.state import ZERO_HASH, Head, Person
from schemas.topics import COMMANDS
from sinks.memory import MemoryLedger, MemoryPublisher, MemoryRedis, MemoryStore, MemoryTopics, turn
from sinks.ports import Doubt
from stream.batches.fetch import Fetch
from stream.core.apply import apply
from stream.engine.cycle import Shard, run_cycle, today
from stream.engine.recovery import Expected, recover
from tests.making import NOON_MS, SHARDS, SOURCES, TOPIC_IDS, fetch, packed, remember, rules

ROUNDS_MAX = 200  # of a worker; a world that needs more of them is in a loop
GENESIS = {
    "shards": SHARDS, "dedupe_key": "00" * 16, "simulated_clock": True, "fair_rows_s": FAIR_ROWS_S,
}  # fmt: skip
BEGINS = [Span(COMMANDS, TOPIC_IDS[COMMANDS], 0, 0)]  # where the platform speaks


class Crash(Exception):
    """The process ends here: whatever it held in memory is gone."""


class World:
    """Everything outside the worker, of shard 0."""

    def __init__(self, records: list[tuple[str, bytes, int]]) -> None:
        self.sources: dict[str, list[tuple[bytes, int]]] = {topic: [] for topic in SOURCES}
        for topic, value, ms in records:
            self.sources[topic].append((value, ms))
        self.redis, self.ledger, self.publisher = MemoryRedis(), MemoryLedger(), MemoryPublisher()
        self.store = MemoryStore(self.redis)  # for whoever looks on
        self.topics = MemoryTopics(dict(TOPIC_IDS))
        self.append(genesis_block("test", 0, GENESIS, NOON_MS - 1_000, BEGINS))

    def append(self, block: Block) -> None:
        """Writes a block past all workers."""
        asyncio.run(self.ledger.append(block))

    def fetched(self, topic: str, first: int, count: int) -> Fetch | None:
        """At most so many records of a source from offset `first` on; None if there are none."""
        records = self.sources[topic][first : first + count]
        batches = [packed(first + i, value, ms=ms) for i, (value, ms) in enumerate(records)]
        return fetch(topic, batches, end=len(self.sources[topic])) if batches else None

    async def all_records(self) -> list[tuple[int, LedgerRecord]]:
        return [found async for found in self.ledger.read(0, 0, await self.ledger.end(0))]

    async def accepted(self) -> list[tuple[int, Block]]:
        """The chain, by the one rule that every reader follows."""
        head, chain = ZERO_HASH, []
        for offset, record in await self.all_records():
            if record.follows(head):
                chain.append((offset, open_block(record)))
                head = record.hash
        return chain

    async def check(self) -> None:
        """Raises unless each record has one accepted row, Redis is the fold, and all is published."""
        chain = await self.accepted()
        rows = Counter()
        for _, block in chain:
            topics = [span.topic for span in block.meta.sources]
            for row in block.rows.select(["source", "offset"]).to_pylist():
                if row["source"] >= 0:
                    rows[topics[row["source"]], row["offset"]] += 1
        due = {(topic, offset) for topic, records in self.sources.items() for offset in range(len(records))}
        assert set(rows) == due, "a record has no row, or a row no record"
        assert set(rows.values()) == {1}, "a record has two accepted rows"
        head, persons, members = fold(chain)
        assert await self.store.load_head(0) == head
        assert await self.store.persons(0) == persons
        assert {d: m for d, m in self.redis.members(0).items() if m} == members
        wanted = {(topic, m.value) for _, b in chain for topic, ms in messages_of(b).items() for m in ms}
        published = {(topic, message.value) for topic, _, message in self.publisher.published}
        assert published == wanted, (
            "an outcome is missing, or one of a block that nobody accepts was published"
        )


def fold(chain: list[tuple[int, Block]]) -> tuple[Head, dict[str, Person], dict[int, set[int]]]:
    """The state that a chain leaves behind, by `apply` and nothing else."""
    head, persons, members = Head(), {}, {}
    for offset, block in chain:
        change = apply(block, head, persons, offset)
        head = change.head
        persons |= change.persons
        remember(members, change)
    return head, persons, {day: m for day, m in members.items() if m}


class Faulty:
    """The four ports of one worker. `fault(call number, port call)` is asked at each; see `Fault`."""

    def __init__(self, world: World, fault: Callable[[int], "Fault | None"] = lambda _: None) -> None:
        self.world, self.fault, self.calls = world, fault, 0
        self.late: list[
            tuple[int, Block]
        ] = []  # appends under way: (call number at which they arrive, block)
        self.store = _Port(self, MemoryStore(world.redis))
        self.ledger = _Port(self, world.ledger)
        self.publisher = _Port(self, world.publisher)
        self.topics = _Port(self, world.topics)

    async def call(self, method: Callable, args: tuple) -> Any:
        fault = await self._next(method, args)
        if fault is not None and fault.before:
            raise fault.before
        answer = await method(*args)
        if fault is not None and fault.after:
            raise fault.after
        return answer

    async def stream(self, method: Callable, args: tuple) -> AsyncIterator:
        fault = await self._next(method, args)
        if fault is not None and (fault.before or fault.after):
            raise fault.before or fault.after
        async for item in method(*args):
            yield item

    async def _next(self, method: Callable, args: tuple) -> "Fault | None":
        number = self.calls
        self.calls += 1
        for at, block in [late for late in self.late if late[0] <= number]:
            self.late.remove((at, block))
            await self.world.ledger.append(block)
        fault = self.fault(number)
        if fault is not None:
            for _ in range(fault.turns):
                await turn()
            if fault.act:
                fault.act()
            if fault.late_by and method.__name__ == "append":
                self.late.append((number + fault.late_by, args[0]))
                raise Doubt("no answer yet")
        return fault


class Fault:
    """What goes wrong at one call: an error before or after its effect, something that happens to the world,
    a pause of some turns of the loop, or (of an append) an effect that comes `late_by` calls later."""

    def __init__(
        self,
        before: Exception | None = None,
        after: Exception | None = None,
        act: Callable[[], None] | None = None,
        turns: int = 0,
        late_by: int = 0,
    ) -> None:
        self.before, self.after, self.act, self.turns, self.late_by = before, after, act, turns, late_by


class _Port:
    """One port behind `Faulty`: `ledger.read` is an async iterator, all else are coroutines."""

    def __init__(self, faulty: Faulty, inner: Any) -> None:
        self._faulty, self._inner = faulty, inner

    def __getattr__(self, name: str) -> Callable:
        method = getattr(self._inner, name)
        is_stream = name == "read" and isinstance(self._inner, MemoryLedger)
        call = self._faulty.stream if is_stream else self._faulty.call
        return lambda *args: call(method, args)


class Worker:
    """Recovers and runs cycles until every record of the sources is decided and published."""

    def __init__(self, world: World, ports: Faulty | None = None, fetch: int = 5, patience: int = 0) -> None:
        self.world, self.ports, self.fetch, self.patience = world, ports or Faulty(world), fetch, patience
        self.shard: Shard | None = None

    async def run(self) -> None:
        for failures in range(ROUNDS_MAX):
            for _ in range(
                failures * self.patience
            ):  # as RETRY_DELAYS_S: or two workers keep in step for ever
                await turn()
            try:
                ports = self.ports
                expected = Expected("test", SHARDS, rules())
                self.shard = await recover(0, expected, ports.store, ports.ledger, ports.publisher)
                self._place(self.shard)
                while self._fetch(self.shard):
                    known = set(self.shard.head.sources)
                    if not await run_cycle(
                        self.shard, ports.store, ports.ledger, ports.publisher, ports.topics
                    ):
                        raise AssertionError("something is owed, though everything was fetched")
                    if set(self.shard.head.sources) != known:  # an app was registered
                        self._place(self.shard)
                if self.shard.publishing:
                    await self.shard.publishing
            except Doubt:
                continue
            else:
                return
            finally:
                await self._drop()
        raise AssertionError("the worker never came to an end")

    def _place(self, shard: Shard) -> None:
        ends = {topic: len(self.world.sources[topic]) for topic in shard.head.sources}
        shard.open_buffer(shard.head.sources, ends)

    def _fetch(self, shard: Shard) -> bool:
        """Some records of each source, of those behind until they owe nothing; False if nothing waits."""
        for topic in shard.head.sources:
            if fetched := self.world.fetched(topic, shard.buffer.next_of(topic), self.fetch):
                assert shard.buffer.add(fetched)
        return shard.buffer.waiting(today())

    async def _drop(self) -> None:
        if self.shard and self.shard.publishing:
            self.shard.publishing.cancel()
            await asyncio.gather(self.shard.publishing, return_exceptions=True)


async def until_done(world: World, first: Worker) -> None:
    """Runs a worker; if it crashes, one without faults takes over, as the group's rebalance does."""
    try:
        await first.run()
    except Crash:
        await Worker(world).run()
    for _, block in first.ports.late:  # what was still under way arrives at last
        await world.ledger.append(block)
