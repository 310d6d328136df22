"""What happens to the services by themselves."""

import asyncio
from typing import Any

from faust.types.tuples import TP

from schemas.state import Change, Head
from schemas.topics import COMMANDS, outcomes_topic
from sinks.memory import MemoryStore
from tests.simulation import traffic


async def trouble(world: Any) -> None:
    """What happens to the services by itworld."""
    while True:
        await asyncio.sleep(0.5)
        world.copies = [*world.copies[-5:], {s: world.redis.copy_of(s) for s in range(world.shards)}]
        if world.chance.fault("Redis goes back", 0.03):
            _redis_goes_back(world)
        _source_trouble(world)
        for topic in map(outcomes_topic, traffic.APPS):
            if world.chance.fault(f"outcomes missing: {topic}", 0.01):
                world.missing.add(topic)
                world.story(f"topic {topic} is deleted")
            elif topic in world.missing and world.chance.uniform("up") < 0.15:
                world.missing.discard(topic)
                world.story(f"topic {topic} is there again")
        if world.chance.fault("broker clock steps", 0.02):
            world.clock_step_ms += world.chance.below("step", 60_000) - 30_000
            world.story("the broker's clock steps")
        if world.chance.fault("ClickHouse down", 0.02):
            world.clickhouse_down_until_s = world.loop.time() + 10 * world.chance.uniform("down")
            world.story("ClickHouse is down for a while")
        if world.chance.fault("ClickHouse loses its last insert", 0.015) and world.archive.lose_last():
            world.clickhouse_starts += 1
            world.seen["archive: rows lost"] += 1
            world.story("ClickHouse crashes, and starts without its last insert")


def _source_trouble(world: Any) -> None:
    for topic in traffic.TOPICS:
        probability = 0.003 if topic == COMMANDS else 0.01
        if world.chance.fault(f"made again: {topic}", probability):
            world.broker.make(topic)
            world.count("kafka: commands made again" if topic == COMMANDS else "kafka: a topic made again")
            world.story(f"topic {topic} is deleted and made again")
        if world.chance.fault(f"deleted: {topic}", probability):
            tp = TP(topic, world.chance.below("deleted of", world.shards))
            world.broker.delete_before(tp, world.broker.ends[tp] - world.chance.below("deleted but", 3))
            at = world.positions[tp.partition].get(topic)
            if at and at[0] == world.broker.ids[topic] and at[1] < world.broker.starts[tp]:
                world.count("kafka: records deleted unread")
                world.story(f"{topic}/{tp.partition}: records are deleted up to {world.broker.starts[tp]}")


def _redis_goes_back(world: Any) -> None:
    which = world.chance.below("which copy", len(world.copies) + 1)
    copied = world.copies[which] if which < len(world.copies) else None
    for shard in range(world.shards):
        world.redis.restore(shard, copied and copied[shard])
    world.count("redis: rolled back" if copied else "redis: emptied")
    if world.appends_under_way:
        world.count("redis: rolled back while an append was under way")
    world.story("Redis goes back to an old copy" if copied else "Redis loses everything")


def before_commit(world: Any, change: Change, store: MemoryStore) -> None:
    """What may happen to a shard between one worker's read and its commit, or inside of that."""
    chance, shard = world.chance, change.shard
    if chance.fault("connection lost before a commit", 0.006):
        store.lose_connection(shard)
        world.count("redis: a connection lost between read and commit")
        world.story(f"shard {shard}: a connection is lost between read and commit")
    if chance.fault("emptied before a commit", 0.004):
        world.redis.restore(shard, None)
        world.count("redis: emptied between read and commit")
        world.story(f"shard {shard}: Redis is emptied between read and commit")
    if change.members and chance.fault("error inside EXEC", 0.006):
        world.redis.spoil(shard, chance.choose("spoilt day", sorted(change.members)), store.projection)
        world.count("redis: an error inside EXEC")
        world.story(f"shard {shard}: a command fails inside EXEC")


async def found_head(world: Any, shard: int, store: MemoryStore) -> Head | None:
    """The head that one worker finds: one that was there is there, unless something happened to it."""
    head = await store.load_head(shard)
    if head is None and (store.projection, shard) in world.redis.whole:
        raise world.violation(f"shard {shard}: nothing happened, and projection {store.projection} is lost")
    return head
