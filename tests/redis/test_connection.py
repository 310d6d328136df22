"""A shard's own connection: what fails on it, or is broken off, ends it, and never commits on another one."""

import asyncio

import pytest

from sinks.ports import Doubt
from sinks.redis_connection import connect
from sinks.redis_errors import Forbidden
from sinks.redis_store import RedisStore
from tests.redis.changes import AFTER, BEFORE, TORN, change, move, state
from tests.redis.servers import Server


def connections(running: Server) -> set[str]:
    """The ids of the workers' connections."""
    return {client["id"] for client in running.admin.client_list() if client["user"] == "worker"}


def close_all(running: Server) -> None:
    running.admin.client_kill_filter(user="worker")


@pytest.mark.parametrize("meanwhile", ["nothing", "another worker's commit", "the same head made again"])
def test_a_connection_lost_between_read_and_commit_is_a_doubt_and_no_commit(
    running: Server, run, meanwhile: str
) -> None:
    """Even where nothing else happened: over a new connection nobody could know that."""

    async def play() -> None:
        store, another = RedisStore(connect(running.url)), RedisStore(connect(running.url))
        await move(store, change(0, 1))
        await store.read(0, [], {})
        close_all(running)
        if meanwhile == "another worker's commit":
            await move(another, change(0, 2))
        elif meanwhile == "the same head made again":
            running.admin.flushall()
            await move(another, change(0, 1))
        opened = connections(running)
        for _ in range(2):
            with pytest.raises(Doubt):
                await store.commit(change(0, 2))
        assert connections(running) == opened, "it opened another one for the commit"
        expected = AFTER if meanwhile == "another worker's commit" else BEFORE
        assert await state(store, 0, 2) == expected
        for each in (store, another):
            await each.close()

    run(play())


def test_what_a_shards_connection_meets_disturbs_no_other_shard(running: Server, run) -> None:
    async def play() -> None:
        store = RedisStore(connect(running.url))
        before = connections(running)
        await move(store, change(0, 1))
        mine = connections(running) - before
        await move(store, change(1, 1))
        await store.read(1, [], {})
        for client in mine:
            running.admin.client_kill_filter(_id=client)
        with pytest.raises(Doubt):
            await store.read(0, [], {})
        await store.commit(change(1, 2))
        assert await state(store, 1, 2) == AFTER
        await store.close()

    run(play())


@pytest.mark.parametrize("at", ["read", "commit"])
def test_an_exchange_that_is_broken_off_ends_its_connection(running: Server, run, at: str) -> None:
    """The replies that still come must meet no later question; and the WATCH is gone with it."""

    async def play() -> None:
        store = RedisStore(connect(running.url))
        await move(store, change(0, 1))
        await store.read(0, [], {})
        running.freeze()
        call = store.read(0, [], {}) if at == "read" else store.commit(change(0, 2))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call, 0.05)
        running.thaw()
        with pytest.raises(Doubt):
            await store.commit(change(0, 2))
        assert await state(store, 0, 2) in (BEFORE, AFTER), "a request that was sent may have its effect"
        await store.close()

    run(play())


def test_a_right_taken_away_inside_a_transaction_leaves_a_shard_to_be_rebuilt(running: Server, run) -> None:
    """EXEC looks at the rights of each command again: the others are done, and not undone."""

    async def play() -> None:
        store = RedisStore(connect(running.url))
        await move(store, change(0, 1))
        await store.read(0, [], {})
        [own] = [held for shard, held in store._own.items() if shard == 0]
        send = own.exchange

        async def in_two_writes(commands: list[tuple]) -> list:
            if commands[0] != ("MULTI",):
                return await send(commands)
            queued = await send(commands[:-1])
            running.admin.execute_command("ACL", "SETUSER", "worker", "-sadd")
            return queued + await send(commands[-1:])

        own.exchange = in_two_writes
        with pytest.raises(Forbidden, match="ACLs rules changed"):
            await store.commit(change(0, 2))
        assert await state(store, 0, 2) == TORN
        running.admin.execute_command("ACL", "SETUSER", "worker", "+sadd")
        late = RedisStore(connect(running.url))
        assert await late.load_head(0) is None
        await late.reset(0)
        await move(late, change(0, 1), change(0, 2))
        assert await state(late, 0, 2) == AFTER
        for each in (store, late):
            await each.close()

    run(play())


def test_without_the_right_to_multi_nothing_is_taken_for_whole(running: Server, run) -> None:
    """Its commands would be run one by one, and the EXEC refused."""

    async def play() -> None:
        store = RedisStore(connect(running.url))
        await move(store, change(0, 1))
        await store.read(0, [], {})
        running.admin.execute_command("ACL", "SETUSER", "worker", "-multi")
        with pytest.raises(Forbidden):
            await store.commit(change(0, 2))
        assert await store.load_head(0) is None
        late = RedisStore(connect(running.url))
        assert await late.load_head(0) is None
        for each in (store, late):
            await each.close()

    run(play())
