"""However the append-only file ends after a power cut, a shard is whole: before a commit or after it."""

import random
from pathlib import Path

from sinks.redis_store import RedisStore, connect
from tests.redis.changes import AFTER, BEFORE, change, state
from tests.redis.servers import Server

CUTS = 50


async def commit(server: Server, *steps: tuple[int, int]) -> None:
    """Blocks of shards, by a worker that just started."""
    store = RedisStore(connect(server.url))
    for shard, seq in steps:
        await store.commit(change(shard, seq))
    await store.close()


async def states(server: Server) -> tuple[str, str]:
    """What became of shard 0's second and shard 1's first commit."""
    store = RedisStore(connect(server.url))
    found = await state(store, 0, 2), await state(store, 1, 1)
    await store.close()
    return found


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
    chosen = random.Random(1)
    sizes = {begin, begin + 1, len(whole) - 1, len(whole)}
    sizes |= {chosen.randrange(begin, len(whole)) for _ in range(CUTS)}

    seen = set()
    for size in sorted(sizes):
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
