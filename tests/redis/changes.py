"""Commits as a worker makes them, and what a shard holds after them."""

from schemas.state import ZERO_HASH, Change, Head, Person, Source
from sinks.ports import Store
from sinks.redis_store import RedisStore

UIDS = [f"{number:032x}" for number in range(200)]
DAY = 20_000
MEMBERS = [7 * number + 1 for number in range(400)]
BEFORE, AFTER, TORN = "before", "after", "torn"


def change(shard: int, seq: int) -> Change:
    """The commit that leads to block `seq`: every person gets `seq` points, and new ids are remembered."""
    sources = {"commands": Source("c", 0), "intake.metro": Source("m", 9 * seq)}
    head = Head(seq, bytes([seq]) * 32, 1_000 + seq, -5, seq + 1, seq, sources=sources)
    persons = {uid: Person({DAY + 90: seq}, {DAY: seq}) for uid in UIDS}
    members = {DAY: [seq * 10_000 + member for member in MEMBERS]}
    return Change(shard, bytes([seq - 1]) * 32 if seq > 1 else ZERO_HASH, head, persons, members, range(0))


async def move(store: Store, *changes: Change) -> None:
    """Commits, each after a read, as a worker does."""
    for made in changes:
        await store.read(made.shard, [], {})
        await store.commit(made)


async def state(store: RedisStore, shard: int, seq: int) -> str:
    """Whether a shard is whole `before` the commit of block `seq`, whole `after` it, or `torn`: head, persons
    and remembered ids of different commits."""
    head = await store.load_head(shard)
    if head is None:
        return TORN
    held = await store.read(shard, UIDS, {DAY: change(shard, seq).members[DAY]})
    for name, block in ((BEFORE, seq - 1), (AFTER, seq)):
        persons = change(shard, block).persons
        seen = set(change(shard, block).members[DAY]) if block == seq else set()
        if (head, held.persons, held.seen) == (change(shard, block).head, persons, seen):
            return name
    return TORN
