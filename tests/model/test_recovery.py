"""Exact effects: whatever fails at whichever port call, every record counts once.

Promises of the protocol (docs/design.md, exact effects): one accepted row for each record; Redis is the
ledger's fold; every outcome of an accepted block is published, and none of any other block.
"""

import asyncio
import datetime as dt
import json
from collections.abc import Callable
from unittest import mock

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.block import Block
from schemas.topics import COMMANDS
from schemas.verdicts import CODES
from sinks.ports import Doubt
from stream.engine.bisect import decide_each
from tests.making import (
    APPS,
    BUS,
    METRO,
    NOON,
    NOON_MS,
    clock,
    record,
    registered,
    uid,
)
from tests.model.driver import Crash, Fault, Faulty, Worker, World, until_done

DAY = dt.timedelta(days=1)
LATER = NOON + 760 * DAY  # all lots of the first days are expired then


def workload() -> list[tuple[str, bytes, int]]:
    """Two persons, two apps, two dates far apart: credits, caps, repetitions, claims, expiries, rubbish."""
    made: list[tuple[str, bytes, int]] = []

    def say(topic: str, value: bytes) -> None:
        made.append((topic, value, NOON_MS + 10 * len(made)))

    for app in APPS.values():
        say(COMMANDS, registered(app))
    for at in (NOON, LATER):
        say(COMMANDS, clock(at))
        for n in range(6):
            who = uid(0, n % 2)
            say(METRO, record(f"m{n}", at, uid=who, activity={"distance_m": 9_000 + n}))
            say(BUS, record(f"b{n}", at, uid=who, methodology="SZ-BUS-BEV", activity={"distance_m": 70}))
        say(METRO, record("m1", at))
        say(METRO, record("again", at, uid=uid(0, 1), source_txn="txn-m1"))
        say(METRO, b'{"rubbish":')
        say(METRO, record("elsewhere", at, uid=uid(1)))
        say(BUS, json.dumps({"kind": "transfer"}).encode())
        say(COMMANDS, b"no command")
    say(COMMANDS, registered(msgspec.structs.replace(APPS["metro"], active=False)))
    say(METRO, record("suspended", LATER))
    say(BUS, record("not-suspended", LATER, methodology="SZ-BUS-BEV", source_txn="last"))
    return made


def faultless() -> tuple[World, Faulty]:
    world = World(workload())
    ports = Faulty(world)
    asyncio.run(Worker(world, ports).run())
    asyncio.run(world.check())
    return world, ports


CALLS = faultless()[1].calls
SEVEN = 7  # every seventh call is enough where a fault spans several calls


def run(fault_at: dict[int, Fault], world: World | None = None) -> World:
    world = world or World(workload())
    ports = Faulty(world, lambda number: fault_at.get(number))

    async def play() -> None:
        await until_done(world, Worker(world, ports))
        await Worker(world).run()  # finds nothing to do, whatever came late
        await world.check()

    asyncio.run(play())
    return world


def test_the_workload_meets_what_can_happen_to_a_report() -> None:
    world, _ = faultless()

    async def verdicts() -> set[str]:
        blocks = await world.accepted()
        return {CODES[v] for _, block in blocks for v in block.rows.column("verdict").to_pylist()}

    assert asyncio.run(verdicts()) >= {
        "credited", "credited_in_part", "cap_reached", "duplicate", "already_claimed", "malformed",
        "misrouted", "forbidden_operation", "expired", "command_applied", "genesis",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["crash before", "crash after", "refused", "reply lost"])
def test_a_fault_at_any_single_call_changes_nothing(name: str) -> None:
    for number in range(CALLS):
        fault = {
            "crash before": Fault(before=Crash()),
            "crash after": Fault(after=Crash()),
            "refused": Fault(before=Doubt("refused")),
            "reply lost": Fault(after=Doubt("lost")),
        }[name]
        run({number: fault})


@pytest.mark.parametrize("late_by", [1, 3, 4, 6, 9])
def test_an_append_that_arrives_after_its_time_out_counts_once_or_not_at_all(late_by: int) -> None:
    for number in range(CALLS):
        run({number: Fault(late_by=late_by)})


def test_redis_emptied_at_any_call_is_made_again() -> None:
    for number in range(CALLS):
        world = World(workload())
        run({number: Fault(act=lambda world=world: world.redis.restore(0, None))}, world)


def test_redis_gone_back_to_an_earlier_copy_is_brought_forward() -> None:
    for copied_at in range(0, CALLS, SEVEN):
        for number in range(copied_at + 1, CALLS, SEVEN):
            world = World(workload())
            copies: list[object] = []
            run(
                {
                    copied_at: Fault(act=lambda w=world, c=copies: c.append(w.redis.copy_of(0))),
                    number: Fault(act=lambda w=world, c=copies: w.redis.restore(0, c[0])),
                },
                world,
            )


def test_a_shard_torn_at_any_call_is_made_again() -> None:
    for number in range(CALLS):
        world = World(workload())
        run({number: Fault(act=lambda world=world: world.redis.tear(0))}, world)


@settings(max_examples=50, deadline=None)
@given(
    pauses=st.tuples(*[st.dictionaries(st.integers(0, 2 * CALLS), st.integers(1, 60), max_size=12)] * 2),
    fetches=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_two_workers_that_both_believe_they_own_the_shard(pauses: tuple, fetches: tuple) -> None:
    """A zombie reads, appends, commits and publishes whenever it pleases."""
    world = World(workload())

    def worker(which: int) -> Worker:
        ports = Faulty(world, lambda n: Fault(turns=pauses[which][n]) if n in pauses[which] else None)
        return Worker(world, ports, fetches[which], patience=1 + 2 * which)

    async def play() -> None:
        await asyncio.gather(worker(0).run(), worker(1).run())
        await world.check()

    asyncio.run(play())


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_many_faults_in_one_run(data: st.DataObject) -> None:
    world = World(workload())
    kinds = {
        "crash": lambda: Fault(before=Crash()),
        "refused": lambda: Fault(before=Doubt("refused")),
        "lost": lambda: Fault(after=Doubt("lost")),
        "late": lambda: Fault(late_by=data.draw(st.integers(1, 30))),
        "emptied": lambda: Fault(act=lambda: world.redis.restore(0, None)),
        "torn": lambda: Fault(act=lambda: world.redis.tear(0)),
    }
    plan = data.draw(st.dictionaries(st.integers(0, 2 * CALLS), st.sampled_from(sorted(kinds)), max_size=8))
    run({number: kinds[kind]() for number, kind in plan.items()}, world)


@settings(max_examples=40, deadline=None)
@given(
    pauses=st.tuples(*[st.dictionaries(st.integers(0, 2 * CALLS), st.integers(1, 60), max_size=12)] * 2),
    garbage=st.lists(st.integers(0, CALLS), max_size=4),
    blocks_max=st.integers(1, 12),
    rows_max=st.sampled_from([1, 8, 10_000]),
    copied_at=st.integers(0, CALLS),
)
def test_many_blocks_in_one_step_of_recovery_leave_what_they_leave_one_by_one(
    pauses: tuple, garbage: list[int], blocks_max: int, rows_max: int, copied_at: int
) -> None:
    """From nothing or from any old copy; over a ledger with two workers' rivalry and garbage between."""
    world, copies = World(workload()), [None]

    def disturb(which: int) -> Callable[[int], Fault | None]:
        def fault(number: int) -> Fault | None:
            if which == 0 and number == copied_at:
                copies.append(world.redis.copy_of(0))
            if number in garbage:
                world.ledger.put(0, b"garbage", [])
            return Fault(turns=pauses[which].get(number, 0))

        return fault

    async def play() -> None:
        workers = [Worker(world, Faulty(world, disturb(n)), patience=1 + 2 * n) for n in range(2)]
        await asyncio.gather(*(worker.run() for worker in workers))

    asyncio.run(play())
    for copied in copies:
        found = []
        for blocks, rows in ((1, 1), (blocks_max, rows_max), (10_000, 10_000)):
            world.redis.restore(0, copied)
            ports, bounds = Faulty(world), {"RECOVERY_BLOCKS_MAX": blocks, "RECOVERY_ROWS_MAX": rows}
            with mock.patch.multiple("stream.core.apply_all", **bounds):
                asyncio.run(Worker(world, ports).run())
            asyncio.run(world.check())
            found.append((asyncio.run(world.store.load_head(0)), asyncio.run(world.store.persons(0))))
        assert found[0] == found[1] == found[2]


def recovered(world: World) -> None:
    asyncio.run(Worker(world).run())


def test_what_is_committed_is_what_the_written_block_says() -> None:
    """Were a block written otherwise than it was decided, nothing of it would be committed."""
    world = World(workload()[:1])

    def tampered(block: Block) -> Block:
        rows = block.rows.to_pylist()
        rows[-1]["inputs"] = rows[-1]["inputs"].replace("metro code app", "another operator")
        other = pa.RecordBatch.from_pylist(rows, schema=block.rows.schema)
        return block._replace(rows=other)

    with (
        mock.patch("stream.engine.cycle.decide_each", lambda *given: tampered(decide_each(*given))),
        pytest.raises(AssertionError, match="what is written is not what was decided"),
    ):
        asyncio.run(Worker(world).run())
    head = asyncio.run(world.store.load_head(0))
    assert head is not None
    assert head.seq == 0
