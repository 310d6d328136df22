"""The consumer group and the transport: who owns which shard, and what is delivered to whom."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import KafkaTimeoutError
from faust.types.tuples import TP

from stream.transport import Batch
from tests.simulation.loop import process as current
from tests.simulation.outside import Process

SESSION_S = 3.0  # after this the group gives a silent member's shards away


class Consumer:
    """`stream.transport.BatchConsumer` as a handler knows it: it is placed, and then delivers."""

    def __init__(self, group: "Group", process: Process, handler: Any) -> None:
        self.group, self.world, self.process, self.handler = group, group.world, process, handler
        self.next: dict[TP, int] = {}
        self.assigned: set[TP] = set()

    async def seek_to(self, positions: dict[TP, int]) -> None:
        await asyncio.sleep(0.001)
        self.next |= {tp: offset for tp, offset in positions.items() if tp in self.assigned}

    async def end_of(self, tp: TP) -> int:
        await asyncio.sleep(0.001)
        if self.world.chance.fault("no answer: end of commands", 0.02):
            raise KafkaTimeoutError
        found = self.world.records(tp, 0)
        return found[-1].offset + 1 if found else 0

    async def subscribe_to(self, topics: list[str]) -> None:
        raise AssertionError("every topic was known from the start")

    async def deliver(self) -> None:
        """Fetches for ever: some records of some topics at a time, as the broker happens to answer."""
        chance = self.world.chance
        pause_s = 0.0
        while True:
            await asyncio.sleep(0.005 + pause_s * chance.uniform("fetch"))
            await self.process._while_alive()
            batches = [b for tp in sorted(self.next) if self.handler.wants(tp) and (b := self._fetch(tp))]
            pause_s = 0.05 if batches else 0.25  # a quiet broker need not be asked so often
            last = {batch.partition: batch for batch in batches}
            for batch in batches:
                self.next[TP(batch.topic, batch.partition)] = batch.next
                if chance.fault("delivery lost", 0.01):
                    # Faust drops what it has in hand when a rebalance suspends its flow, and at no other
                    # time.
                    self.world.count("transport: a delivery lost")
                    self.group.rebalance_due = True
                    continue
                self.handler.take(batch._replace(more=last[batch.partition] is not batch))

    def _fetch(self, tp: TP) -> Batch | None:
        waiting = self.world.records(tp, self.next[tp])
        if not waiting or self.world.chance.uniform("answers") < 0.3:
            return None
        some = waiting[: 1 + self.world.chance.below("fetched", 12)]
        if some[0].offset > self.next[tp]:
            self.world.count("transport: an offset gap")
        return Batch(tp.topic, tp.partition, self.next[tp], some[-1].offset + 1, some)


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
        process = Process(self.world, f"{self.kind}-{self._born}")
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
            silent = [m for m in self.members if self._silent(m)]
            lost = bool(dead) or any(m.consumer.assigned for m in silent)
            if lost:
                await asyncio.sleep(SESSION_S * chance.uniform("session"))
            self.members = [m for m in self.members if m.process.alive]
            joined = len(self.members) < members
            while len(self.members) < members:
                self.start_member()
            newly = any(not m.consumer.assigned and not self._silent(m) for m in self.members)
            if (
                lost
                or joined
                or newly
                or self.rebalance_due
                or chance.fault(f"rebalance of {self.kind}", 0.05)
            ):
                await self.rebalance()
            await asyncio.sleep(0.5 + chance.uniform("coordinate"))

    def _silent(self, member: SimpleNamespace) -> bool:
        return member.process.paused_until_s > self.world.loop.time()

    async def rebalance(self) -> None:
        """Revokes everything from whoever listens, then assigns all shards among them."""
        async with self._rebalancing:
            self.rebalance_due = False
            await self._rebalance()

    async def _rebalance(self) -> None:
        listening = [m for m in self.members if m.process.alive and not self._silent(m)]
        if not listening:
            return
        self.world.story(f"{self.kind}: rebalance over {', '.join(m.process.name for m in listening)}")
        for member in self.members:
            if member not in listening:
                member.consumer.assigned = set()  # it does not know yet
                self.world.count(f"{self.kind}: a zombie keeps its shards")
        await asyncio.gather(*(self._call(m, m.handler.revoked, m.consumer.assigned) for m in listening))
        shares: dict[int, set[TP]] = {i: set() for i in range(len(listening))}
        for shard in range(self.world.shards):
            share = self.world.chance.below("share", len(listening))
            shares[share] |= {TP(topic, shard) for topic in self.topics}
            self.owner[shard] = listening[share].process
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
