"""Which projections a server holds, and how much of it each takes."""

from sinks.fingerprint import FINGERPRINT
from sinks.redis_connection import connect
from sinks.redis_store import RedisStore
from tests.redis.changes import UIDS, change, move
from tests.redis.servers import Server

OTHER = "07e4c1"  # as the fingerprint of another release


def test_a_server_tells_its_projections_and_the_part_of_each(running: Server, run) -> None:
    async def play() -> None:
        mine = RedisStore(connect(running.url))
        other = RedisStore(connect(running.url), OTHER)
        assert (await mine.projections(), await mine.shares()) == (set(), {})
        await move(mine, change(0, 1))
        await move(other, *(change(shard, 1) for shard in range(3)))
        running.admin.set("somebody else's", "x")
        running.admin.set(f"p:{{0}}:{UIDS[0]}", "of a release without fingerprints")
        for store in (mine, other):
            assert await store.projections() == {FINGERPRINT, OTHER}
            shares = await store.shares()
            assert sum(shares.values()) == 1
            assert 2.9 < shares[OTHER] / shares[FINGERPRINT] < 3.1
            assert 0 < shares[""] < 0.01
        gone = sum([await other.reset(shard) for shard in range(3)])
        assert gone > 3 * len(UIDS)
        assert await mine.projections() == {FINGERPRINT}
        for store in (mine, other):
            await store.close()

    run(play())
