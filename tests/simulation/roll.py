"""Two releases with projections of their own in one group: rolled forward and back at any moment, a
projection built ahead, another one dropped."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from schemas.state import Head
from sinks.fingerprint import FINGERPRINT
from sinks.ports import Doubt
from stream.core.apply_all import Step
from stream.engine.projections import Worker, build, drop_others
from stream.engine.recovery import Expected
from stream.errors import OperatorError
from tests.simulation import traffic
from tests.simulation.loop import process as current
from tests.simulation.outside import LedgerPort, Process, StorePort
from tests.simulation.projections import OTHER, PROJECTIONS


class Roll:
    """What an operator does about projections. `projection`: what a worker keeps that starts now."""

    def __init__(self, world: Any) -> None:
        self._world, self._born = world, 0
        self.planned = not world.upgrade.planned and world.chance.uniform("a roll") < 0.4
        self._projection = FINGERPRINT

    @property
    def projection(self) -> str:
        upgrade = self._world.upgrade
        return self._projection if self.planned else upgrade.projection(upgrade.release)

    async def roll(self) -> None:
        """Forward and back, worker by worker; a build ahead of it, and the end of it, when it pleases."""
        world, chance = self._world, self._world.chance
        while self.planned:
            await asyncio.sleep(0.5 + 2 * chance.uniform("a roll's pace"))
            if chance.fault("rolled", 0.35):
                self._replace_a_worker()
            if chance.fault("built ahead", 0.12):
                await self._run("rebuild", self._build)
            if chance.fault("finished", 0.25):
                await self._run("finish", self._finish)
            if len({member.process.projection for member in world.intake.members}) > 1:
                world.count("projection: a group of both")

    def _replace_a_worker(self) -> None:
        group, chance = self._world.intake, self._world.chance
        forward = self._projection == FINGERPRINT
        self._projection = OTHER if forward else FINGERPRINT
        self._world.count(f"projection: rolled {'forward' if forward else 'back'}")
        others = [m for m in group.members if m.process.alive and m.process.projection != self._projection]
        if others:
            chance.choose("replaced", others).process.crash(f"replaced by one of {self._projection}")

    async def _run(self, name: str, command: Any) -> None:
        """One command of an operator, in a process of its own, which may die or fall silent as any other."""
        self._born += 1
        process = Process(self._world, f"{name}-{self._born}")
        token = current.set(process)
        task = self._world.loop.create_task(_told(self._world, name, command(process)))
        current.reset(token)
        await asyncio.wait([task], timeout=20)
        if not task.done() or task.cancelled():  # silent, or dead
            self._world.count(f"{name}: broken off")
            process.crash("its operator gives up")

    async def _build(self, process: Process) -> None:
        world, projection = self._world, self._world.chance.choose("built", list(PROJECTIONS))
        used = {member.process.projection for member in world.intake.members}
        store, ledger = StorePort(process, projection), LedgerPort(process)
        expected = Expected("sim", world.shards, traffic.rules())

        def taken(shard: int, head: Head, step: Step) -> None:
            world.count(f"rebuild: {'beside the same release' if projection in used else 'ahead of a roll'}")

        await asyncio.gather(*(build(s, expected, store, ledger, taken) for s in range(world.shards)))

    async def _finish(self, process: Process) -> None:
        world, group = self._world, self._world.intake
        own = self._projection
        members = [m.process for m in group.members if m.process.alive and not group.is_silent(m)]
        in_use = {own, *(member.projection for member in members)}

        def dropped(name: str, shard: int, keys: int) -> None:
            world.count("finish: a projection dropped")
            if name in in_use:
                raise world.violation(f"finish dropped projection {name}, which is in use")

        workers = [Worker(member.name, member.projection) for member in members]
        stores = {name: StorePort(process, name) for name in PROJECTIONS}
        await drop_others(own, world.redis.names(), workers, stores.__getitem__, world.shards, dropped)


async def _told(world: Any, name: str, work: Coroutine) -> None:
    try:
        await work
    except OperatorError as error:
        refused = name == "finish" and "Workers of another release" in error.message
        world.count(f"{name}: {'refused, as another release runs' if refused else 'given up'}")
        world.story(f"{name}: {error.message}")
    except Doubt as doubt:
        world.story(f"{name}: {doubt}")
