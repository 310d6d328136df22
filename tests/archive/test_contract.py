"""One suite over both archives: the one in memory answers as ClickHouse does."""

from collections.abc import Callable

import pytest

from sinks.clickhouse.errors import ArchiveDamaged
from sinks.clickhouse.memory import MemoryArchive
from sinks.clickhouse.run import NOTHING, Archive, LedgerBlock, Mark, Run


@pytest.fixture(params=["memory", "chdb"])
def archive(request: pytest.FixtureRequest) -> Archive:
    return MemoryArchive() if request.param == "memory" else request.getfixturevalue("chdb")


@pytest.fixture
def remove(archive: Archive, shard: int, request: pytest.FixtureRequest) -> Callable[[int], None]:
    """Removes a block behind the archive's back."""
    if isinstance(archive, MemoryArchive):
        return lambda seq: archive.blocks.pop((shard, seq))
    sql = request.getfixturevalue("sql")
    return lambda seq: sql(
        "ALTER TABLE ledger_rows DELETE WHERE shard = {shard:UInt16} AND seq = {seq:UInt64}"
        " SETTINGS mutations_sync = 2",
        shard=shard,
        seq=seq,
    )


def run_of(blocks, first: int, last: int) -> Run:
    return Run(
        blocks[0].meta.shard, tuple(LedgerBlock(b, b.meta.seq + 100) for b in blocks[first : last + 1])
    )


def mark_at(block) -> Mark:
    return Mark(block.meta.seq, block.hash, block.meta.seq + 100)


def test_an_empty_shard_has_nothing(archive, shard):
    assert archive.high_water(shard) == NOTHING


def test_the_mark_is_the_last_block_of_the_run(archive, chains, shard):
    blocks = chains.chain(shard, [(5, 10)] * 4)
    mark = archive.append(run_of(blocks, 0, 2), NOTHING)
    assert mark == mark_at(blocks[2]) == archive.high_water(shard) == archive.high_water(shard, mark)
    assert archive.append(run_of(blocks, 3, 4), mark) == mark_at(blocks[4]) == archive.high_water(shard)


def test_shards_do_not_mix(archive, chains, shard, new_shard):
    other = new_shard()
    archive.append(run_of(chains.chain(shard, [(2, 0)] * 3), 0, 3), NOTHING)
    assert archive.high_water(other) == NOTHING


def test_the_same_run_again_changes_nothing(archive, chains, shard):
    blocks = chains.chain(shard, [(5, 10)] * 3)
    for _ in range(2):
        archive.append(run_of(blocks, 0, 3), NOTHING)
    assert archive.high_water(shard) == mark_at(blocks[3])


def test_an_overlapping_run_of_a_zombie_changes_nothing(archive, chains, shard):
    blocks = chains.chain(shard, [(5, 10)] * 6)
    mark = archive.append(run_of(blocks, 0, 2), NOTHING)
    archive.append(run_of(blocks, 3, 6), mark)
    assert archive.append(run_of(blocks, 3, 4), mark) == mark_at(blocks[6]) == archive.high_water(shard)


@pytest.mark.parametrize("removed", [0, 2])
def test_a_removed_block_is_found(archive, chains, shard, remove, removed):
    archive.append(run_of(chains.chain(shard, [(3, 0)] * 4), 0, 4), NOTHING)
    remove(removed)
    with pytest.raises(ArchiveDamaged, match=f"archive of shard {shard}"):
        archive.high_water(shard)


def test_rows_removed_at_the_end_are_written_again_though_their_token_is_known(
    archive, chains, shard, remove
):
    blocks = chains.chain(shard, [(3, 0)] * 4)
    mark = archive.append(run_of(blocks, 0, 2), NOTHING)
    archive.append(run_of(blocks, 3, 4), mark)
    remove(3)
    remove(4)
    assert archive.high_water(shard) == mark
    assert archive.append(run_of(blocks, 3, 4), mark) == mark_at(blocks[4])
