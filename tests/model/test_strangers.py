"""Recovery of a ledger in which something else stands, or which is another: ignored, or one clear line."""

import asyncio

import msgspec
import pytest

from schemas.block import genesis_block, make_block
from schemas.formats import NEWEST
from schemas.ledger_record import record_hash
from schemas.state import ZERO_HASH
from sinks.clickhouse.run import NOTHING
from stream.engine.archive_run import RunCutter
from stream.engine.cycle import Shard
from stream.engine.recovery import Expected, recover
from stream.errors import OperatorError
from tests.making import METRO, NOON_MS, SHARDS, TOPIC_IDS, rules
from tests.model.driver import GENESIS, Fault, Faulty, Worker, World
from tests.model.test_recovery import CALLS, faultless, recovered, workload


def ignored_by_recovery(world: World) -> int:
    """How many records a recovery of everything passes over."""
    world.redis.restore(0, None)

    async def go() -> Shard:
        expected = Expected("test", SHARDS, rules())
        return await recover(0, expected, world.store, world.ledger, world.publisher)

    return asyncio.run(go()).ignored_records


def ignored_by_archive(world: World) -> int:
    cutter = RunCutter(0, NOTHING)
    for offset, found in asyncio.run(world.all_records()):
        cutter.push(found, offset)
    return cutter.ignored


def test_what_follows_nothing_is_ignored_and_counted_alike_by_intake_and_archive() -> None:
    """Blocks of another platform, one far above the chain's end, a zombie's, garbage, wherever they stand."""
    world = World(workload())
    stranger = genesis_block("test", 0, GENESIS | {"dedupe_key": "11" * 16}, NOON_MS)
    above = make_block(
        stranger.hash, msgspec.structs.replace(stranger.meta, seq=99), stranger.rows.to_pydict(), NEWEST
    )

    def disturb() -> None:
        world.append(stranger)
        world.append(above)
        world.ledger.put(0, b"not a block", [])
        world.ledger.put(0, stranger.value, [("prev", b""), ("hash", stranger.hash)])

    disturb()
    recovered(world)
    disturb()
    zombie = asyncio.run(world.accepted())[2][1]
    world.append(zombie)
    recovered(world)
    asyncio.run(world.check())
    assert ignored_by_recovery(world) == ignored_by_archive(world) == 9
    asyncio.run(world.check())


def counting(world: World, value: bytes) -> None:
    """Writes a record that counts, whatever it holds, as a writer of another release does."""
    _, last = asyncio.run(world.accepted())[-1]
    headers = [("prev", last.hash), ("hash", record_hash(last.hash, value)), ("release", b"9.1")]
    world.ledger.put(0, value, headers)


def test_a_newer_format_that_counts_is_told_with_the_release_that_reads_it() -> None:
    world, _ = faultless()
    counting(world, b"\0\2 of a later release")
    with pytest.raises(OperatorError) as raised:
        recovered(world)
    assert "holds format 2, written by release 9.1" in raised.value.message
    assert raised.value.todo.startswith("start release 9.1 or a later one")


def test_a_ledger_shorter_than_redis_remembers_halts() -> None:
    world, _ = faultless()
    world.ledger.truncate(0, 2)
    with pytest.raises(OperatorError, match="the ledger lost records"):
        recovered(world)


def test_a_head_that_is_not_on_the_chain_halts() -> None:
    world, other = faultless()[0], World(workload()[:1])
    asyncio.run(Worker(other).run())
    other.redis.restore(0, world.redis.copy_of(0))
    for _ in range(len(asyncio.run(world.all_records()))):
        other.append(genesis_block("test", 0, GENESIS, NOON_MS))
    with pytest.raises(OperatorError, match="not on the ledger's chain"):
        recovered(other)


def test_an_empty_ledger_halts() -> None:
    world = World([])
    world.ledger.truncate(0, 0)
    with pytest.raises(OperatorError, match="empty ledger"):
        recovered(world)


def test_what_counts_and_is_no_block_halts() -> None:
    """Its writer held the chain's end: nothing behind it would be right."""
    world, _ = faultless()
    counting(world, b"\0\1 not a block")
    with pytest.raises(OperatorError, match="no block"):
        recovered(world)


def test_a_block_of_another_place_that_counts_halts() -> None:
    world, _ = faultless()
    _, last = asyncio.run(world.accepted())[-1]
    world.append(make_block(last.hash, last.meta, last.rows.to_pydict(), NEWEST))
    with pytest.raises(OperatorError, match="is due"):
        recovered(world)


def test_a_ledger_of_before_is_refused_in_one_line() -> None:
    world = World([])
    world.ledger.truncate(0, 0)
    world.ledger.put(0, b"an Arrow stream", [("prev", ZERO_HASH), ("hash", b"h" * 32)])
    with pytest.raises(OperatorError, match="begins with a record that this release does not count"):
        recovered(world)


def test_a_topic_made_again_under_its_name_gets_no_row() -> None:
    """Between the last fetch and the append its id is asked for: what was fetched may be of another log."""
    world = World(workload())
    made_again = Fault(act=lambda: world.topics.known.update({METRO: "another".ljust(22, "-")}))
    ports = Faulty(world, lambda number: made_again if number == CALLS // 2 else None)
    with pytest.raises(AssertionError, match="never came to an end"):
        asyncio.run(Worker(world, ports).run())
    rows = [
        (span.topic_id, span.next)
        for _, block in asyncio.run(world.accepted())
        for span in block.meta.sources
        if span.topic == METRO
    ]
    assert {topic_id for topic_id, _ in rows} == {TOPIC_IDS[METRO]}
    assert rows[-1][1] < len(world.sources[METRO]), "it stands where it was"


@pytest.mark.parametrize(("platform", "shards"), [("other", 4), ("test", 8)])
def test_another_platforms_ledger_halts(platform: str, shards: int) -> None:
    world = World([])
    world.ledger.truncate(0, 0)
    world.append(genesis_block(platform, 0, GENESIS | {"shards": shards}, NOON_MS))
    with pytest.raises(OperatorError, match="belongs to platform"):
        recovered(world)
