"""A Redis that evicts stops the worker, and is made again; one that forbids what a worker needs is named."""

import contextlib

import pytest

from sinks.redis_connection import connect
from sinks.redis_errors import Forbidden
from sinks.redis_store import RedisStore
from stream.engine.redis_guard import CHECK_S, GuardedStore
from stream.errors import OperatorError
from tests.redis.changes import AFTER, change, move, state
from tests.redis.servers import Server


class Clock:
    """Seconds that a test lets pass."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def evict_something(running: Server) -> None:
    """Keys go, and the policy is put right afterwards, as by somebody who noticed and told nobody."""
    running.admin.config_set("maxmemory-policy", "allkeys-lru")
    running.admin.config_set("maxmemory", 1)
    with contextlib.suppress(Exception):
        running.admin.set("one more", "x")
    running.admin.config_set("maxmemory", 0)
    running.admin.config_set("maxmemory-policy", "noeviction")
    assert running.admin.info("stats")["evicted_keys"] > 0


def test_a_policy_that_evicts_stops_a_recovery(running: Server, run) -> None:
    running.admin.config_set("maxmemory-policy", "volatile-ttl")

    async def play() -> None:
        store = GuardedStore(RedisStore(connect(running.url)))
        with pytest.raises(OperatorError, match="volatile-ttl") as caught:
            await store.load_head(0)
        assert "noeviction" in caught.value.todo
        running.admin.config_set("maxmemory-policy", "noeviction")
        assert await store.load_head(0) is None
        await store.close()

    run(play())


def test_a_server_that_begins_to_evict_stops_the_worker_within_a_second(running: Server, run) -> None:
    async def play() -> None:
        clock = Clock()
        store = GuardedStore(RedisStore(connect(running.url)), clock)
        await store.load_head(0)
        await move(store, change(0, 1))
        evict_something(running)
        clock.now_s = CHECK_S
        with pytest.raises(OperatorError, match="has evicted"):
            await store.read(0, [], {})  # as an idle shard looks at its head
        await store.close()

    run(play())


def test_the_way_out_of_evictions_gives_an_exact_redis(running: Server, run) -> None:
    """What the message says: the policy, empty, and only then a restart. What has no head is rebuilt."""

    async def commit() -> None:
        store = RedisStore(connect(running.url))
        await move(store, change(0, 1))
        await move(store, change(0, 2))
        await store.close()

    async def recovered() -> str:
        store = RedisStore(connect(running.url))
        guarded = GuardedStore(store)
        assert await guarded.load_head(0) is None, "nothing of what was left is used"
        for seq in (1, 2):
            await move(guarded, change(0, seq))
        found = await state(store, 0, 2)
        await store.close()
        return found

    run(commit())
    evict_something(running)
    running.admin.flushall()
    running.restart()
    assert run(recovered()) == AFTER


def test_a_worker_asks_once_a_second_however_many_shards_it_has(running: Server, run) -> None:
    async def play() -> None:
        clock = Clock()
        store = GuardedStore(RedisStore(connect(running.url)), clock)
        await store.load_head(0)

        def asked() -> int:
            return running.admin.info("commandstats").get("cmdstat_info", {"calls": 0})["calls"]

        before = asked()
        for _ in range(5):
            clock.now_s += CHECK_S
            for shard in range(64):
                await store.read(shard, [], {})
        assert asked() - before <= 5 + 1  # one of them is this test's own
        await store.close()

    run(play())


@pytest.mark.parametrize("right", ["info", "bgrewriteaof", "hset"])
def test_a_right_that_is_missing_is_named_and_its_grant_is_the_way_out(
    running: Server, run, right: str
) -> None:
    running.admin.execute_command("ACL", "SETUSER", "worker", f"-{right}")

    async def play() -> None:
        store = GuardedStore(RedisStore(connect(running.url)))

        async def recover_and_commit() -> None:
            await store.load_head(0)
            await move(store, change(0, 1))

        with pytest.raises(OperatorError, match="does not let the worker") as caught:
            await recover_and_commit()
        assert "rights in Redis" in caught.value.todo
        assert isinstance(caught.value.__cause__, Forbidden)
        running.admin.execute_command("ACL", "SETUSER", "worker", f"+{right}")
        await recover_and_commit()
        await store.close()

    run(play())


@pytest.mark.parametrize("way", ["somebody else rewrites", "no append-only file"])
def test_without_the_right_to_rewrite_there_are_two_ways(running: Server, run, way: str) -> None:
    running.admin.execute_command("ACL", "SETUSER", "worker", "-bgrewriteaof")
    if way == "no append-only file":
        running.admin.config_set("appendonly", "no")
    else:
        running.admin.bgrewriteaof()
        while running.admin.info("persistence")["aof_last_rewrite_time_sec"] < 0:
            pass

    async def play() -> None:
        store = GuardedStore(RedisStore(connect(running.url)))
        await move(store, change(0, 1))
        await store.close()

    run(play())
