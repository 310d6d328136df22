"""Kafka, Redis and ClickHouse as one process sees them: slow, forgetful, and sometimes silent about what
they did.

The memory stores of `sinks` do the work; `Ports` stands between them and one worker process. Every call takes
time, then has its effect, then takes time to answer; a fault may strike at each of the three.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from schemas.block import Block
from schemas.ledger_record import LedgerRecord, headers_of
from schemas.outcome import Message
from schemas.state import Change, Head
from sinks.clickhouse.errors import ArchiveUnavailable
from sinks.clickhouse.run import NOTHING, Mark, Run
from sinks.fingerprint import FINGERPRINT
from sinks.ports import Doubt, Snapshot
from tests.releases.release import PRESENT, Release
from tests.simulation.loop import process as current
from tests.simulation.projections import store_of
from tests.simulation.trouble import found_head

CALL_S = 0.02  # the longest of an ordinary call, half on the way and half on the way back
LATE_S = 8.0  # how much later than its sender gave up a produce may still arrive


class Process:
    """One operating system process of a worker; dead ones never get an answer again."""

    def __init__(
        self, world: Any, name: str, release: Release = PRESENT, projection: str = FINGERPRINT
    ) -> None:
        self.world, self.name, self.release, self.alive = world, name, release, True
        self.projection = projection
        self.paused_until_s = 0.0
        self.commands_ends: dict[int, tuple[str, int]] = {}  # as it learned them when it placed a shard

    def crash(self, why: str) -> None:
        """kill -9: tasks end where they stand, requests already sent go on."""
        if self.alive:
            self.alive = False
            self.world.story(f"{self.name} dies: {why}")
            self.world.loop.kill(self)

    async def io(self, what: str, effect: Callable[[], Any], doubt: type[Exception] = Doubt) -> Any:
        """One call of the outside: the request travels, has its effect, and the answer travels."""
        chance = self.world.chance
        await self._travel(what)
        if chance.fault(f"crash before {what}", 0.004):
            self.crash(f"before {what}")
        if chance.fault(f"request lost: {what}", 0.006):
            self.world.story(f"{self.name}: a request is lost: {what}")
            raise doubt(f"{what}: the request was lost")
        await self._while_alive()
        answer = effect()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if chance.fault(f"crash after {what}", 0.004):
            self.crash(f"after {what}")
        await self._travel(what)
        if chance.fault(f"answer lost: {what}", 0.008):
            self.world.story(f"{self.name}: an answer is lost: {what}")
            raise doubt(f"{what}: the answer was lost")
        return answer

    async def _travel(self, what: str) -> None:
        await asyncio.sleep(self.world.chance.uniform("travel") * CALL_S / 2)
        if self.world.chance.fault(f"{self.name.split('-')[0]} stops for a while", 0.002):
            self.paused_until_s = self.world.loop.time() + 3 + 12 * self.world.chance.uniform("pause")
            self.world.story(f"{self.name} stops for a while, at {what}")
        await self._while_alive()

    async def _while_alive(self) -> None:
        while self.alive and self.paused_until_s > self.world.loop.time():  # noqa: ASYNC110
            await asyncio.sleep(self.paused_until_s - self.world.loop.time())
        if not self.alive:
            await asyncio.get_running_loop().create_future()  # for ever


class LedgerPort:
    """`Ledger` of one process."""

    def __init__(self, process: Process) -> None:
        self._process, self._world = process, process.world

    async def append(self, block: Block) -> int:
        world, shard = self._world, block.meta.shard
        # What the writer knew when it decided: the block may land after it has learned more.
        known = self._process.commands_ends.get(shard, ("", 0))

        def land() -> int:
            return world.land(shard, block, self._process, known)

        if world.chance.fault("append arrives late", 0.02):
            delay_s = LATE_S * world.chance.uniform("late append")
            world.loop.call_later(delay_s, land)
            world.appends_under_way += 1
            world.story(
                f"{self._process.name} gives up on block {block.meta.seq} of shard {shard}; it is late"
            )
            await asyncio.sleep(delay_s * world.chance.uniform("patience"))
            raise Doubt("append: time-out")
        offset = await self._process.io("append", land)
        if world.chance.fault("append arrives twice", 0.01):
            world.loop.call_later(LATE_S * world.chance.uniform("late append"), land)
            world.appends_under_way += 1
        return offset

    async def end(self, shard: int) -> int:
        return await self._process.io("ledger end", lambda: len(self._world.ledger.records(shard)))

    async def read(self, shard: int, start: int, end: int) -> AsyncIterator[tuple[int, LedgerRecord]]:
        await self._process.io("ledger read", lambda: None)
        async for found in self._world.ledger.read(shard, start, end):
            yield found

    async def renew(self, shard: int) -> None:
        """The producer before may still be sending: what is under way stays under way."""

    async def close(self) -> None:
        """Nothing to end."""


class StorePort:
    """`Store` of one process."""

    def __init__(self, process: Process, projection: str) -> None:
        self._process, self._world, self._projection = process, process.world, projection
        self._store = store_of(process.world.redis, projection)

    async def load_head(self, shard: int) -> Head | None:
        head = await self._process.io("load head", lambda: found_head(self._world, shard, self._store))
        ahead = self._world.redis.others(shard, self._projection).values()
        if head and head.hash not in ahead and self._world.heads[shard] in ahead:
            self._world.count("release: a projection catches up from its own head")
        return self._process.release.head(head)

    async def read(self, shard: int, uids: list[str], lookups: dict[int, list[int]]) -> Snapshot:
        return await self._process.io("read state", lambda: self._store.read(shard, uids, lookups))

    async def commit(self, change: Change) -> None:
        # Redis holds bytes, and no release's objects.
        stored = msgspec.structs.replace(change, head=PRESENT.head(change.head))
        await self._process.io("commit", lambda: self._world.commit(stored, self._store))

    async def reset(self, shard: int) -> int:
        if self._world.chance.fault("reset cut off", 0.02):
            self._world.redis.tear(shard, projection=self._projection)
            self._world.count("redis: a reset cut off")
            self._world.story(f"shard {shard}: a reset is cut off")
            raise Doubt("reset: the connection was lost")
        if self._world.redis.others(shard, self._projection):
            self._world.count("release: a projection is built beside another")
        return await self._process.io("reset", lambda: self._store.reset(shard))

    async def close(self) -> None:
        """Nothing to end."""


class PublisherPort:
    """`Publisher` of one process."""

    def __init__(self, process: Process) -> None:
        self._process, self._world = process, process.world

    async def start(self) -> None:
        """Nothing to begin."""

    async def publish(self, shard: int, messages: dict[str, list[Message]]) -> set[str]:
        if self._world.chance.fault("a publication takes long", 0.05):
            await asyncio.sleep(self._world.chance.uniform("long publication"))
        return await self._process.io("publish", lambda: self._world.publish(shard, messages))

    async def close(self) -> None:
        """Nothing to end."""


class TopicsPort:
    """`Topics` of one process."""

    def __init__(self, process: Process) -> None:
        self._process, self._world = process, process.world

    async def ids(self, topics: list[str]) -> dict[str, str]:
        known = self._world.broker.ids
        return await self._process.io("ids of topics", lambda: {t: known[t] for t in topics if t in known})

    async def close(self) -> None:
        """Nothing to end."""


class ArchivePort:
    """`Archive` of one process: synchronous, as the archive's thread calls it. See `World.in_thread`."""

    def __init__(self, process: Process) -> None:
        self._process, self._world = process, process.world
        self._connected_to = process.world.clickhouse_starts

    def high_water(self, shard: int, verified: Mark = NOTHING) -> Mark:
        self._down()
        return self._world.archive.high_water(shard, verified)

    def append(self, run: Run, mark: Mark) -> Mark:
        world, chance = self._world, self._world.chance
        self._down()
        if chance.fault("insert refused", 0.02):
            raise ArchiveUnavailable("insert: too many parts")
        world.archived(run, mark, self._process)
        if chance.fault("insert's answer lost", 0.04):
            world.count("archive: answer of an insert lost")
            raise ArchiveUnavailable("insert: time-out after it was applied")
        return world.archive.high_water(run.shard, mark)

    def close(self) -> None:
        """Nothing to end."""

    def _down(self) -> None:
        if self._world.loop.time() < self._world.clickhouse_down_until_s:
            raise ArchiveUnavailable("connection refused")
        if self._connected_to != self._world.clickhouse_starts:
            self._connected_to = self._world.clickhouse_starts
            raise ArchiveUnavailable("connection reset: the server was started again")


def ledger_record(block: Block) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A block as the topic holds it."""
    return block.value, headers_of(block.record)


def in_thread(world: Any, call: Callable[[], Any]) -> asyncio.Future:
    """The archive's thread: answers after a while, whatever becomes of who asked."""
    answer = world.loop.create_future()

    def run() -> None:
        try:
            result = call()
        except Exception as error:
            _later(world, answer, answer.set_exception, error)
        else:
            _later(world, answer, answer.set_result, result)

    delay_s, process = 0.2 * world.chance.uniform("thread"), current.get()
    if world.chance.fault("archive stops for a while", 0.01):
        process.paused_until_s = world.loop.time() + 3 + 12 * world.chance.uniform("pause")
        world.story(f"{process.name} stops for a while, with a call under way")
    if process is not None:
        delay_s = max(delay_s, process.paused_until_s - world.loop.time())
    world.loop.call_later(delay_s, run)
    return answer


def _later(world: Any, answer: asyncio.Future, settle: Callable, value: Any) -> None:
    delay_s = 0.1 * world.chance.uniform("thread answers")
    world.loop.call_later(delay_s, lambda: answer.done() or settle(value))
