"""First blocks are written once: into a ledger in which nothing was, never over one that was lost."""

import asyncio
from collections.abc import Iterable

import pytest

from schemas.block import Block, open_block
from schemas.state import Head
from sinks.memory import MemoryLedger, MemoryStore
from stream.core.apply import apply
from stream.errors import OperatorError
from stream.operate.platform.genesis import witness, write_genesis

SHARDS = 3


class Platform:
    """A ledger and a Redis in memory."""

    def __init__(self) -> None:
        self.ledger, self.store = MemoryLedger(), MemoryStore()

    def set_up(self, begun: bool = False) -> None:
        asyncio.run(
            write_genesis(self.ledger, self.store, "test", SHARDS, False, "commands".ljust(22, "-"), begun)
        )

    def first_blocks(self) -> list[Block]:
        async def read() -> list[Block]:
            ends = [await self.ledger.end(s) for s in range(SHARDS)]
            read = [self.ledger.read(s, 0, min(1, ends[s])) for s in range(SHARDS)]
            return [open_block(record) for records in read async for _, record in records]

        return asyncio.run(read())

    def empty(self, shards: Iterable[int]) -> None:
        for shard in shards:
            self.ledger.truncate(shard, 0)

    def apply_first(self, shard: int) -> None:
        """What an intake worker's recovery does."""
        change = apply(self.first_blocks()[shard], Head(), {}, 0)

        async def recover() -> None:
            await self.store.read(shard, [], {})
            await self.store.commit(change)

        asyncio.run(recover())


def refused(platform: Platform, begun: bool = False) -> str:
    with pytest.raises(OperatorError, match="lost its records") as caught:
        platform.set_up(begun)
    assert "docs/runbook.md, ledger emptied" in caught.value.todo
    return caught.value.message


def test_all_shards_get_their_first_block_once_and_share_the_key() -> None:
    platform = Platform()
    platform.set_up()
    first = platform.first_blocks()
    platform.set_up(begun=True)
    assert platform.first_blocks() == first
    assert len(first) == SHARDS
    assert len({block.meta.genesis["dedupe_key"] for block in first}) == 1


def test_an_interrupted_set_up_is_taken_up_again_with_the_same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    platform = Platform()
    append, written = platform.ledger.append, []

    async def interrupted(block: Block) -> int:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(block)
        return await append(block)

    monkeypatch.setattr(platform.ledger, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        platform.set_up()
    monkeypatch.undo()
    platform.set_up()
    assert len(platform.first_blocks()) == SHARDS
    assert len({block.meta.genesis["dedupe_key"] for block in platform.first_blocks()}) == 1


@pytest.mark.parametrize("shard", range(1, SHARDS))
def test_one_emptied_shard_is_known_by_the_others(shard: int) -> None:
    platform = Platform()
    platform.set_up()
    platform.empty([shard])
    assert f"nothing of shard {shard}, but shard 0" in refused(platform)
    assert len(platform.first_blocks()) == SHARDS - 1


def test_an_emptied_ledger_is_known_by_redis() -> None:
    platform = Platform()
    platform.set_up()
    platform.apply_first(2)
    platform.empty(range(SHARDS))
    assert "Redis has seen 1 records of shard 2" in refused(platform)
    assert platform.first_blocks() == []


def test_an_emptied_ledger_is_known_by_the_data_folder() -> None:
    platform = Platform()
    platform.set_up()
    platform.empty(range(SHARDS))
    assert "stack.json remembers" in refused(platform, begun=True)
    assert platform.first_blocks() == []


@pytest.mark.parametrize(
    ("ends", "seen", "begun", "known"),
    [
        ([0, 0, 0], {}, False, False),
        ([0, 1, 1], {}, False, False),  # an interrupted set-up
        ([0, 0, 1], {}, False, False),
        ([1, 0, 1], {}, False, True),
        ([0, 2, 1], {}, False, True),
        ([0, 1, 1], {0: 1}, False, True),
        ([0, 0, 0], {1: 9}, False, True),
        ([0, 0, 0], {}, True, True),
    ],
)
def test_who_knows_better(ends: list[int], seen: dict[int, int], begun: bool, known: bool) -> None:
    assert (witness(dict(enumerate(ends)), seen, begun) is not None) == known
