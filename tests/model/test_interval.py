"""When a shard's next cycle begins: under small load later, with a full one or a command at once."""

import asyncio
from itertools import pairwise

import pytest
from faust.types.tuples import TP

from schemas.block import Block
from schemas.limits import SHORT_CYCLE_ROWS_MAX
from schemas.topics import COMMANDS
from stream.engine.intake import Intake
from stream.engine.recovery import Expected
from stream.engine.tenure import CYCLE_INTERVAL_S
from tests.making import APPS, METRO, NOON_MS, SHARDS, SOURCES, record, registered, rules
from tests.metrics.feeding import Transport
from tests.model.driver import Faulty, World
from tests.simulation.loop import VirtualLoop

LOOK_S = 0.001
BEGAN_S = 10.0  # long after the shard was recovered and placed

Record = tuple[str, bytes, int]


def report(number: int) -> Record:
    return METRO, record(f"m{number}"), NOON_MS + number


def command(number: int) -> Record:
    return COMMANDS, registered(APPS["metro"]), NOON_MS + number


def cycles(deliveries: list[tuple[float, list[Record]]]) -> list[tuple[float, int]]:
    """Each cycle after the first, which registers the app: when its block was appended, and its rows; of
    records that are delivered so many seconds after `BEGAN_S`. Nothing takes any time but waiting."""
    deliveries = [(0.0, [command(0)]), *((BEGAN_S + s, records) for s, records in deliveries)]
    world = World([one for _, records in deliveries for one in records])
    everything, world.sources = world.sources, {topic: [] for topic in SOURCES}
    ports, failures = Faulty(world), []
    append, appended = ports.ledger.append, []

    async def timed(block: Block) -> int:
        appended.append((round(asyncio.get_running_loop().time() - BEGAN_S, 2), block.rows.num_rows))
        return await append(block)

    async def play() -> None:
        ports.ledger.append = timed
        expected = Expected("test", SHARDS, rules())
        every_port = (ports.store, ports.ledger, ports.publisher, ports.topics)
        handler, transport = Intake(expected, APPS, *every_port, failures.append), Transport(world)
        await handler.assigned({TP(topic, 0) for topic in SOURCES}, transport)
        for at_s, records in deliveries:
            await asyncio.sleep(at_s - asyncio.get_running_loop().time() + LOOK_S)
            for topic, _, _ in records:
                world.sources[topic] = everything[topic][: len(world.sources[topic]) + 1]
            transport.feed(handler, SHORT_CYCLE_ROWS_MAX)
        await asyncio.sleep(10 * CYCLE_INTERVAL_S)
        await handler.revoked(set())

    loop = VirtualLoop()
    loop.run_until_complete(play())
    loop.close()
    assert not failures
    assert sum(rows for _, rows in appended) == sum(len(records) for records in everything.values())
    return appended[1:]


def test_the_first_report_after_a_pause_does_not_wait_and_those_behind_it_are_decided_together() -> None:
    later = [(0.01, [report(2)]), (0.1, [report(3)]), (0.2, [report(4)])]
    assert cycles([(0.0, [report(1)]), *later]) == [(0.0, 1), (CYCLE_INTERVAL_S, 3)]


def test_a_cycle_begins_an_interval_after_the_one_before() -> None:
    every_s = 0.02
    found = cycles([(every_s * n, [report(n)]) for n in range(100)])
    gaps_s = [after - before for (before, _), (after, _) in pairwise(found)]
    assert gaps_s == pytest.approx([CYCLE_INTERVAL_S] * len(gaps_s), abs=LOOK_S + every_s)
    assert len(found) == pytest.approx(100 * every_s / CYCLE_INTERVAL_S, abs=2)


def test_a_full_cycle_does_not_wait() -> None:
    many = [report(n) for n in range(2, 2 + SHORT_CYCLE_ROWS_MAX)]
    assert cycles([(0.0, [report(1)]), (0.1, many)]) == [(0.0, 1), (0.1, SHORT_CYCLE_ROWS_MAX)]
    assert cycles([(0.0, [report(1)]), (0.1, many[1:])])[1] == (CYCLE_INTERVAL_S, SHORT_CYCLE_ROWS_MAX - 1)


def test_a_command_does_not_wait_nor_does_what_came_before_it() -> None:
    found = cycles([(0.0, [report(1)]), (0.05, [report(2)]), (0.1, [command(3)])])
    assert found == [(0.0, 1), (0.1, 2)]
