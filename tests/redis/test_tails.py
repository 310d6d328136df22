"""However the append-only file ends after a power cut, a shard is whole: before a commit or after it."""

import asyncio
import contextlib
import random
import re
from pathlib import Path

import pytest

from sinks.ports import Doubt
from sinks.redis_connection import connect
from sinks.redis_store import RedisStore
from tests.redis.changes import AFTER, BEFORE, change, move, state
from tests.redis.servers import Server

CUTS = 30  # beside those that are chosen
COMMAND = re.compile(rb"\*\d+\r\n\$\d+\r\n([A-Za-z]+)\r\n")


async def commit(server: Server, *steps: tuple[int, int]) -> None:
    """Blocks of shards, by a worker that just started."""
    store = RedisStore(connect(server.url))
    for shard, seq in steps:
        await move(store, change(shard, seq))
    await store.close()


async def states(server: Server) -> tuple[str, str]:
    """What became of shard 0's second and shard 1's first commit."""
    store = RedisStore(connect(server.url))
    found = await state(store, 0, 2), await state(store, 1, 1)
    await store.close()
    return found


def places(tail: bytes) -> set[int]:
    """Where a transaction may be cut off: before, inside and behind the first and the last command of each
    kind; and anywhere."""
    commands = [(found.start(), found[1].upper().decode()) for found in COMMAND.finditer(tail)]
    names = [name for _, name in commands]
    assert names[0] == "MULTI"
    assert names[-1] == "EXEC"
    assert {"MSET", "SADD", "HSET"} < set(names)
    begins = [at for at, _ in commands] + [len(tail)]
    chosen = {names.index(name) for name in names} | {
        len(names) - 1 - names[::-1].index(name) for name in names
    }
    cuts = {at for n in chosen for at in (begins[n], begins[n] + 1, (begins[n] + begins[n + 1]) // 2)}
    some = random.Random(1)
    return cuts | {len(tail) - 1, len(tail)} | {some.randrange(len(tail)) for _ in range(CUTS)}


def cut(server: Server, kept: bytes, path: Path, size: int) -> None:
    """The power went when `size` bytes of the file were on disk."""
    server.kill()
    path.write_bytes(kept[:size])


def test_a_tail_cut_off_anywhere_leaves_no_shard_torn_whoever_commits_next(running: Server, run) -> None:
    run(commit(running, (0, 1)))
    path = running.append_only_file()
    begin = path.stat().st_size
    run(commit(running, (0, 2)))
    whole = path.read_bytes()
    folder = {file: file.read_bytes() for file in path.parent.iterdir()}
    seen = set()
    for size in sorted(begin + place for place in places(whole[begin:])):
        running.kill()
        for file in path.parent.iterdir():
            file.unlink()
        for file, content in folder.items():
            file.write_bytes(content)
        cut(running, whole, path, size)
        running.start()
        run(commit(running, (1, 1)))
        running.restart()
        first, second = run(states(running))
        assert first in (BEFORE, AFTER), f"shard 0 is torn by a cut at {size - begin} of {len(whole) - begin}"
        assert second == AFTER, f"shard 1's commit is lost after a cut at {size - begin}"
        seen.add(first)
    assert seen == {BEFORE, AFTER}


def rewrites(running: Server) -> int:
    return running.admin.info("commandstats").get("cmdstat_bgrewriteaof", {"calls": 0})["calls"]


def test_workers_that_meet_a_server_at_once_write_after_a_rewrite(running: Server, run) -> None:
    """Each of many connections of many workers looks; one rewrite is enough for all of them."""

    async def play() -> None:
        stores = [RedisStore(connect(running.url)) for _ in range(4)]
        order: list[str] = []

        async def first_commit(store: RedisStore, shard: int) -> None:
            await move(store, change(shard, 1))
            info = await store.info()
            order.append(info["aof_last_rewrite_time_sec"])

        await asyncio.gather(*(first_commit(stores[shard % 4], shard) for shard in range(16)))
        assert "-1" not in order, "somebody wrote before the first rewrite had ended"
        asked = rewrites(running)
        assert 1 <= asked <= 16
        await asyncio.gather(*(move(stores[shard % 4], change(shard, 2)) for shard in range(16)))
        late = RedisStore(connect(running.url))
        await move(late, change(16, 1))
        assert rewrites(running) == asked, "a server that has rewritten its file is not asked again"
        for store in (*stores, late):
            await store.close()

    run(play())


def test_a_worker_that_meets_another_process_on_the_way_waits_for_its_rewrite(running: Server, run) -> None:
    async def play() -> None:
        store = RedisStore(connect(running.url))
        await move(store, change(0, 1))
        running.restart()
        for _ in range(2):  # the connection that broke is a doubt
            with contextlib.suppress(Doubt):
                await move(store, change(0, 2))
        assert await state(store, 0, 2) == AFTER
        assert running.admin.info("persistence")["aof_last_rewrite_time_sec"] >= 0
        await store.close()

    run(play())


def test_a_rewrite_that_fails_is_a_doubt_and_nothing_is_written(running: Server, run) -> None:
    async def play() -> None:
        store = RedisStore(connect(running.url))
        folder = running.folder / "appendonlydir"
        folder.rename(running.folder / "gone")
        folder.touch()
        for _ in range(2):
            with pytest.raises(Doubt, match="could not rewrite"):
                await move(store, change(0, 1))
        assert await store.load_head(0) is None
        folder.unlink()
        (running.folder / "gone").rename(folder)
        await move(store, change(0, 1))
        assert await state(store, 0, 1) == AFTER
        await store.close()

    run(play())
