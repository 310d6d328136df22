"""A projection is built beside the one in use, and dropped beside it: nobody notices, whatever breaks off."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from schemas.state import Head
from sinks.fingerprint import FINGERPRINT
from sinks.memory import MemoryStore
from sinks.ports import Doubt
from stream.core import apply_all
from stream.engine import projections
from stream.engine.projections import Worker as Member
from stream.engine.projections import build, drop_others
from stream.engine.recovery import Expected
from stream.errors import OperatorError
from tests.making import SHARDS, rules
from tests.model.driver import Crash, Fault, Faulty, Worker, World, _Port
from tests.model.test_recovery import workload

OTHER = "07e4c1"  # as the fingerprint of another release
EXPECTED = Expected("test", SHARDS, rules())


@pytest.fixture(autouse=True)
def _small_steps_and_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply_all, "RECOVERY_BLOCKS_MAX", 2)
    monkeypatch.setattr(projections, "RETRY_DELAYS_S", (0.0,) * 5)


def decided() -> World:
    """A world whose worker has decided everything."""
    world = World(workload())
    asyncio.run(Worker(world).run())
    return world


def builder(world: World, projection: str, fault: Callable[[int], Fault | None]) -> Faulty:
    """The ports of one who builds."""
    ports = Faulty(world, fault)
    ports.store = _Port(ports, MemoryStore(world.redis, projection))
    return ports


async def built(world: World, projection: str = OTHER, fault: Any = lambda _: None) -> tuple[list[int], int]:
    """Builds: where each step ended, and how many calls that took."""
    ports, steps = builder(world, projection, fault), []
    await build(0, EXPECTED, ports.store, ports.ledger, lambda _, head, step: steps.append(head.ledger_next))
    return steps, ports.calls


async def is_whole(world: World, projection: str = OTHER) -> bool:
    """Whether a projection is what the worker's own one is; how far outcomes are published is each one's."""
    mine, other = MemoryStore(world.redis), MemoryStore(world.redis, projection)
    head, built_head = await mine.load_head(0), await other.load_head(0)
    return (
        built_head is not None
        and (built_head.hash, built_head.sources, built_head.apps) == (head.hash, head.sources, head.apps)
        and await other.persons(0) == await mine.persons(0)
        and world.redis.state(0, projection).members == world.redis.state(0).members
    )


def test_a_projection_is_built_beside_the_one_in_use_which_nobody_touches() -> None:
    world = decided()
    before = world.redis.copy_of(0)[FINGERPRINT]
    touches, published = world.redis.touches(0, FINGERPRINT), list(world.publisher.published)
    steps, _ = asyncio.run(built(world))
    assert len(steps) > 3
    assert steps == sorted(steps)
    assert asyncio.run(is_whole(world))
    assert world.redis.touches(0, FINGERPRINT) == touches
    assert vars(world.redis.copy_of(0)[FINGERPRINT]) == vars(before)
    assert world.publisher.published == published, "who builds tells nobody"
    asyncio.run(world.check())


@pytest.mark.parametrize("effect", ["before", "after"])
def test_a_build_that_is_broken_off_anywhere_goes_on_where_it_stopped(effect: str) -> None:
    calls = asyncio.run(built(decided()))[1]
    for number in range(calls):
        world = decided()
        with pytest.raises(Crash):
            asyncio.run(
                built(world, fault=lambda n, at=number: Fault(**{effect: Crash()}) if n == at else None)
            )
        head = asyncio.run(MemoryStore(world.redis, OTHER).load_head(0))
        resets = world.redis.resets
        steps, _ = asyncio.run(built(world))
        assert asyncio.run(is_whole(world))
        if head is not None:
            assert world.redis.resets == resets, "what was built is not thrown away"
            assert steps[0] >= head.ledger_next


def test_what_passes_is_waited_for_and_what_stays_is_told() -> None:
    world = decided()
    calls = asyncio.run(built(world))[1]
    fault = Fault(after=Doubt("no answer"))
    for number in range(calls):
        asyncio.run(built(world := decided(), fault=lambda n, at=number: fault if n == at else None))
        assert asyncio.run(is_whole(world))
    with pytest.raises(OperatorError, match="no answer") as caught:
        asyncio.run(built(decided(), fault=lambda n: Fault(before=Doubt("no answer")) if n > 4 else None))
    assert "same command again" in caught.value.todo


@pytest.mark.parametrize("projection", [FINGERPRINT, OTHER])
@pytest.mark.parametrize("patience", [0, 1, 7])
def test_who_builds_disturbs_no_worker_of_this_release_or_of_another(projection: str, patience: int) -> None:
    """With keys of its own it meets nobody; with those of the worker both fold the same chain."""
    world = World(workload())

    async def play() -> None:
        worker = Worker(world, fetch=1, patience=patience)
        deciding = asyncio.ensure_future(worker.run())
        while not deciding.done():
            await built(world, projection)
        await deciding
        await built(world, projection)
        await world.check()
        assert await is_whole(world, projection)

    asyncio.run(play())


def test_a_worker_that_finds_what_was_built_ahead_rebuilds_nothing_and_tells_all() -> None:
    world = decided()
    asyncio.run(built(world))
    resets, told = world.redis.resets, set(map(repr, world.publisher.published))
    ports = builder(world, OTHER, lambda _: None)
    asyncio.run(Worker(world, ports).run())
    assert world.redis.resets == resets
    assert set(map(repr, world.publisher.published)) == told
    asyncio.run(world.check())


async def dropped(world: World, *workers: str, own: str = FINGERPRINT) -> list[tuple[str, int, int]]:
    told: list[tuple[str, int, int]] = []
    members = [Member("10.0.0.7", name) for name in workers]
    await drop_others(
        own,
        {FINGERPRINT, OTHER},
        members,
        lambda name: MemoryStore(world.redis, name),
        1,
        lambda *what: told.append(what),
    )
    return told


def test_what_other_releases_keep_is_dropped_and_one_that_comes_back_makes_it_again() -> None:
    world = decided()
    asyncio.run(built(world))
    [(name, shard, keys)] = asyncio.run(dropped(world, FINGERPRINT))
    assert (name, shard) == (OTHER, 0)
    assert keys > 2
    assert asyncio.run(MemoryStore(world.redis, OTHER).load_head(0)) is None
    asyncio.run(world.check())
    asyncio.run(Worker(world, builder(world, OTHER, lambda _: None)).run())
    assert asyncio.run(is_whole(world))
    asyncio.run(world.check())


@pytest.mark.parametrize("worker", [OTHER, ""])
def test_nothing_is_dropped_while_a_worker_of_another_release_runs(worker: str) -> None:
    world = decided()
    asyncio.run(built(world))
    with pytest.raises(OperatorError, match=r"10\.0\.0\.7"):
        asyncio.run(dropped(world, FINGERPRINT, worker))
    assert asyncio.run(is_whole(world))


def test_nothing_is_dropped_before_this_releases_own_projection_is_there() -> None:
    world = decided()
    with pytest.raises(OperatorError, match="not there in shards 0") as caught:
        asyncio.run(dropped(world, own=OTHER))
    assert "points rebuild redis" in caught.value.todo
    assert isinstance(asyncio.run(world.store.load_head(0)), Head)


def test_a_worker_that_comes_meanwhile_stops_the_drop_and_is_exact() -> None:
    """It finds its projection torn and makes it again; whoever resets later is in doubt, never both."""
    world = decided()
    asyncio.run(built(world))

    async def play() -> None:
        worker = Worker(world, builder(world, OTHER, lambda _: None), patience=1)
        results = await asyncio.gather(worker.run(), dropped(world), return_exceptions=True)
        assert results[0] is None
        if await MemoryStore(world.redis, OTHER).load_head(0) is None:
            await worker.run()  # as its idle look, or its next cycle, finds it
        assert await is_whole(world)

    asyncio.run(play())
    asyncio.run(world.check())
