"""An upgrade in the middle of everything else: workers are rolled on and back, and a format begins.

Two releases really run: see tests/releases/next.py. Every third run has an upgrade, the others none of it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

from sinks.fingerprint import FINGERPRINT
from stream.errors import OperatorError
from tests.releases.next import next_release
from tests.releases.release import PRESENT, Release
from tests.simulation import traffic
from tests.simulation.projections import OTHER
from tests.simulation.services import opened_next

ROLLED = 0.33
FORMAT = 2  # of the next release


class Upgrade:
    """`release`: what a worker is of that starts now; `begun`: whether the next release's format was said."""

    def __init__(self, world: Any) -> None:
        self._world, self._chance = world, world.chance
        self.planned = self._chance.uniform("an upgrade") < ROLLED
        self.release, self.begun = PRESENT, False
        self.releases = [PRESENT, next_release()] if self.planned else [PRESENT]
        self._own_projection = self._chance.uniform("another projection") < 0.5

    @property
    def newest(self) -> Release:
        """The one that can read whatever was written in this run."""
        return self.releases[-1]

    def named(self, name: str) -> Release:
        """The release that says so of itself in a block."""
        return next(release for release in self.releases if release.name == name)

    def projection(self, release: Release) -> str:
        """Which projection a release keeps: in some runs the next one has another than this one."""
        return OTHER if self._own_projection and release is not PRESENT else FINGERPRINT

    def in_use(self, shard: int) -> str:
        """The projection of whoever has the shard now."""
        return self._world.intake.owner[shard].projection

    async def roll(self) -> None:
        """What an operator does, at times that chance chooses; nothing more once the run heals."""
        if not self.planned:
            return
        after = self._world.loop.create_task(self._begin_format(3 + 12 * self._chance.uniform("begins")))
        try:
            await self._pause(5)
            await self._workers_of(self.newest)
            if self._chance.uniform("rolled back") < 0.5:
                await self._workers_of(PRESENT)
                await self._workers_of(self.newest)
            while not self._chance.healing:
                await self._pause(3)
                self._speak()
                if self._chance.uniform("too late to go back") < 0.2:
                    await self._workers_of(PRESENT)
                    await self._workers_of(self.newest)
        finally:
            after.cancel()

    def settle(self) -> None:
        """The last word: behind a format there is one release that goes on."""
        if self.begun:
            self.release = self.newest

    def repeat(self) -> None:
        """What was said into a topic that is gone is said again."""
        if self.begun:
            self._world.operator.command(traffic.format_begins(FORMAT, self.newest.name))

    def accounts_for(self, process: Any, error: OperatorError) -> bool:
        """Whether a worker may end so: one from before, where the next release's format begins or stands."""
        by = f"which release {self.newest.name} can" in error.message
        held = f"format {FORMAT}, written by release {self.newest.name}" in error.message
        if not (self.begun and process.release is PRESENT and (by or held)):
            return False
        self._world.count(f"release: an old worker ends where a format {'begins' if by else 'stands'}")
        return True

    async def _begin_format(self, delay_s: float) -> None:
        """Perhaps while workers of both releases run, which a careful operator would not do."""
        await asyncio.sleep(delay_s)
        if not self._chance.healing:
            self.begun = True
            self._world.story(f"format {FORMAT} is said to begin")
            self.repeat()

    async def _workers_of(self, release: Release) -> None:
        """Ends the workers of another release one by one; the group starts others in their place."""
        self.release = release
        for group in (self._world.intake, self._world.archivers):
            for member in list(group.members):
                await self._pause(2)
                if self._chance.healing:
                    return
                if member.process.release is not release:
                    member.process.crash(f"release {release.name} is to take its place")
        await self._pause(4)

    def _speak(self) -> None:
        """What only the next release knows: commands of its kind, apps that name it, a way back."""
        operator, draw = self._world.operator, self._chance.uniform("of the next release")
        if draw < 0.3:
            operator.command(traffic.pause())
        elif draw < 0.6:
            topic = traffic.TOPICS[1 + self._chance.below("who names it", len(traffic.APPS))]
            self._world.broker.produce(topic, self._chance.below("in", traffic.SHARDS), traffic.names_pause())
        elif draw < 0.7:
            operator.command(traffic.format_begins(1, PRESENT.name))
        else:
            operator.repeat_registry()

    async def _pause(self, most_s: float) -> None:
        await asyncio.sleep(most_s * self._chance.uniform("upgrade"))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """The code of each release that runs, with what the simulation looks at on the way."""
        with ExitStack() as stack:
            for release in self.releases:
                cycle = release["stream.engine.cycle"]
                stack.enter_context(mock.patch.object(cycle, "_check_sources", self._world.check_sources))
                stack.enter_context(mock.patch.object(cycle, "READ_BACK_EVERY_BLOCKS", 1))
                for reader in ("stream.engine.archive_run", "stream.engine.recovery"):
                    opened = partial(opened_next, release)
                    stack.enter_context(mock.patch.object(release[reader], "open_next", opened))
            yield
