"""The consumer group and the transport: who owns which shard, and what is delivered to whom."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import KafkaTimeoutError
from faust.types.tuples import TP

from schemas.topics import COMMANDS, LEDGER
from stream.batches.fetch import Fetch
from tests.simulation.loop import process as current
from tests.simulation.outside import Process

SESSION_S = 3.0  # after this the group gives a silent member's shards away


class Consumer:
    """`stream.engine.transport.BatchConsumer` as a handler knows it: it is placed, and then delivers."""

    def __init__(self, group: "Group", process: Process, handler: Any) -> None:
        self.group, self.world, self.process, self.handler = group, group.world, process, handler
        self.next: dict[TP, int] = {}
        self.assigned: set[TP] = set()

    async def seek_to(self, positions: dict[TP, int]) -> None:
        await asyncio.sleep(0.001)
        self.next |= {tp: offset for tp, offset in positions.items() if tp in self.assigned}

    async def ends_of(self, tps: list[TP]) -> dict[TP, int]:
        await asyncio.sleep(0.001)
        if self.world.chance.fault("no answer: ends of topics", 0.02):
            raise KafkaTimeoutError
        broker = self.world.broker
        if self.group.kind == "archive":
            return {tp: len(self.world.ledger.records(tp.partition)) for tp in tps}
        for tp in tps:
            if tp.topic == COMMANDS:
                self.process.commands_ends[tp.partition] = (broker.ids[COMMANDS], broker.ends[tp])
        return {tp: broker.ends[tp] for tp in tps}

    async def starts_of(self, tps: list[TP]) -> dict[TP, int]:
        await asyncio.sleep(0.001)
        return {tp: self.world.broker.starts[tp] for tp in tps}

    def partitions_of(self, topic: str) -> int:
        return self.world.shards

    async def subscribe_to(self, topics: list[str]) -> None:
        raise AssertionError("every topic was known from the start")

    async def deliver(self) -> None:
        """Fetches for ever: some records of some topics at a time, as the broker happens to answer."""
        chance = self.world.chance
        pause_s = 0.0
        while True:
            await asyncio.sleep(0.005 + pause_s * chance.uniform("fetch"))
            await self.process._while_alive()
            fetches = [f for tp in sorted(self.next) if self.handler.wants(tp) and (f := self._fetch(tp))]
            pause_s = 0.05 if fetches else 0.25  # a quiet broker need not be asked so often
            last = {fetch.partition: fetch for fetch in fetches}
            for fetch in fetches:
                self.next[TP(fetch.topic, fetch.partition)] = fetch.next
                if chance.fault("delivery lost", 0.01):
                    # Faust drops what it has in hand when a rebalance suspends its flow, and at no other
                    # time.
                    self.world.count("transport: a delivery lost")
                    self.group.rebalance_due = True
                    continue
                self.handler.take(fetch._replace(more=last[fetch.partition] is not fetch))

    def _fetch(self, tp: TP) -> Fetch | None:
        """As `BatchConsumer` does it: what was deleted unread, or is of a shorter log, stops the source."""
        at, broker = self.next[tp], self.world.broker
        if tp.topic != LEDGER and self.world.chance.uniform("answers") >= 0.3:
            if broker.starts[tp] > at:
                return self._stop(tp, at, "deleted_unread")
            if broker.logs[tp] and broker.ends[tp] < at:
                return self._stop(tp, at, "made_again")
        elif tp.topic != LEDGER:
            return None
        return self.world.fetch(tp, at, 1 + self.world.chance.below("fetched", 12))

    def _stop(self, tp: TP, at: int, reason: str) -> None:
        del self.next[tp]
        self.world.count(f"transport: a source stopped: {reason}")
        self.handler.stop_source(tp, at, reason, "simulated")


class Group:
    """All workers of one kind. A member that is paused keeps believing in its shards: a zombie."""

    def __init__(self, world: Any, kind: str, topics: tuple[str, ...], make_handler: Any) -> None:
        self.world, self.kind, self.topics, self._make = world, kind, topics, make_handler
        self.members: list[SimpleNamespace] = []
        self.owner: dict[int, Process] = {}
        self.rebalance_due = False
        self._rebalancing = asyncio.Lock()
        self._born = 0

    def start_member(self) -> None:
        """A new process joins."""
        self._born += 1
        process = Process(
            self.world, f"{self.kind}-{self._born}", self.world.upgrade.release, self.world.roll.projection
        )
        token = current.set(process)
        handler = self._make(process)
        consumer = Consumer(self, process, handler)
        member = SimpleNamespace(process=process, handler=handler, consumer=consumer)
        self.members.append(member)
        self.world.loop.create_task(consumer.deliver())
        current.reset(token)
        self.world.story(f"{process.name} starts")

    async def coordinate(self, members: int) -> None:
        """Keeps that many members alive, and rebalances whenever membership changed or chance wants it."""
        chance = self.world.chance
        while True:
            dead = [m for m in self.members if not m.process.alive]
            silent = [m for m in self.members if self.is_silent(m)]
            lost = bool(dead) or any(m.consumer.assigned for m in silent)
            if lost:
                await asyncio.sleep(SESSION_S * chance.uniform("session"))
            self.members = [m for m in self.members if m.process.alive]
            joined = len(self.members) < members
            while len(self.members) < members:
                self.start_member()
            newly = any(not m.consumer.assigned and not self.is_silent(m) for m in self.members)
            if (
                lost
                or joined
                or newly
                or self.rebalance_due
                or chance.fault(f"rebalance of {self.kind}", 0.05)
            ):
                await self.rebalance()
            await asyncio.sleep(0.5 + chance.uniform("coordinate"))

    def is_silent(self, member: SimpleNamespace) -> bool:
        """Whether it is stopped now."""
        return member.process.paused_until_s > self.world.loop.time()

    async def rebalance(self) -> None:
        """Revokes everything from whoever listens, then assigns all shards among them."""
        async with self._rebalancing:
            self.rebalance_due = False
            await self._rebalance()

    async def _rebalance(self) -> None:
        listening = [m for m in self.members if m.process.alive and not self.is_silent(m)]
        if not listening:
            return
        self.world.story(f"{self.kind}: rebalance over {', '.join(m.process.name for m in listening)}")
        if len({member.process.release for member in listening}) > 1:
            self.world.count(f"release: a mixed group rebalanced: {self.kind}")
        for member in self.members:
            if member not in listening:
                member.consumer.assigned = set()  # it does not know yet
                self.world.count(f"{self.kind}: a zombie keeps its shards")
        await asyncio.gather(*(self._call(m, m.handler.revoked, m.consumer.assigned) for m in listening))
        shares: dict[int, set[TP]] = {i: set() for i in range(len(listening))}
        for shard in range(self.world.shards):
            share = self.world.chance.below("share", len(listening))
            shares[share] |= {TP(topic, shard) for topic in self.topics}
            before, self.owner[shard] = self.owner.get(shard), listening[share].process
            if self.kind == "intake" and before and before.projection != self.owner[shard].projection:
                self.world.count("projection: a shard handed from one to the other")
            if self.kind == "intake" and self.world.chance.fault("a topic apart from its shard", 0.03):
                # As while an app is new and not all workers know it: Faust hands its topic out by itself.
                shares[share].discard(apart := TP(self.topics[-1], shard))
                shares[self.world.chance.below("apart", len(listening))].add(apart)
                self.rebalance_due = True
        for i, member in enumerate(listening):
            member.consumer.assigned, member.consumer.next = shares[i], {}
            await self._call(member, member.handler.assigned, shares[i], member.consumer)

    async def _call(self, member: SimpleNamespace, method: Any, *args: Any) -> None:
        """Runs as a task of the member's process; if that dies meanwhile, the group goes on."""
        token = current.set(member.process)
        task = self.world.loop.create_task(method(*args))
        current.reset(token)
        await asyncio.wait([task], timeout=10)
        if task.done() and not task.cancelled() and task.exception():
            raise task.exception()
