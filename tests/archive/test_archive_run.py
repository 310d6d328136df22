"""The run cutter: the same ledger gives the same runs, whatever way it arrives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.limits import ARCHIVE_RUN_INTERVAL_MS
from sinks.clickhouse.run import NOTHING, Run
from stream import archive_run
from stream.archive_run import ChainBroken, RunCutter

ROWS_MIN = 20
SHAPES = st.lists(
    st.tuples(st.integers(1, 25), st.sampled_from([0, 1, 900, 2_500, 5_000, 60_000, 26 * 86_400_000])),
    max_size=25,
)


@pytest.fixture(autouse=True, scope="module")
def _small_runs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive_run, "ARCHIVE_RUN_ROWS_MIN", ROWS_MIN)
        yield


def cut(blocks, mark=NOTHING, first=0) -> list[Run]:
    cutter = RunCutter(0, mark)
    runs = [run for i, block in enumerate(blocks) for run in cutter.push(block, first + i)]
    last = cutter.flush()
    return [*runs, last] if last else runs


def seqs(runs) -> list[int]:
    return [b.block.meta.seq for run in runs for b in run.blocks]


@given(SHAPES)
@settings(max_examples=60, deadline=None)
def test_every_block_is_in_one_run_and_runs_end_where_the_rules_say(chains, shapes):
    blocks = chains.chain(0, shapes)
    runs = cut(blocks)
    assert seqs(runs) == list(range(len(blocks)))
    for run, following in zip(runs, [*runs[1:], None], strict=True):
        times = {b.block.meta.time_ms // ARCHIVE_RUN_INTERVAL_MS for b in run.blocks}
        assert len(times) == 1
        assert run.rows - run.blocks[-1].block.rows.num_rows < ROWS_MIN
        if following:
            other = following.blocks[0].block.meta.time_ms // ARCHIVE_RUN_INTERVAL_MS not in times
            assert run.rows >= ROWS_MIN or other


@given(SHAPES, st.data())
@settings(max_examples=60, deadline=None)
def test_from_the_end_of_any_run_the_rest_is_cut_alike(chains, shapes, data):
    blocks = chains.chain(0, shapes)
    runs = cut(blocks)
    at = data.draw(st.integers(0, len(runs) - 1))
    mark = runs[at].end
    again = cut(blocks[mark.seq :], mark, mark.ledger_offset)
    assert [run.token for run in again] == [run.token for run in runs[at + 1 :]]


@given(SHAPES, st.data())
@settings(max_examples=60, deadline=None)
def test_after_an_early_flush_runs_agree_again_from_the_next_interval_on(chains, shapes, data):
    blocks = chains.chain(0, shapes)
    flushed = data.draw(st.integers(0, len(blocks) - 1))
    mark = cut(blocks[: flushed + 1])[-1].end
    interval = blocks[flushed].meta.time_ms // ARCHIVE_RUN_INTERVAL_MS

    def later(runs):
        found = (
            run for run in runs if run.blocks[0].block.meta.time_ms // ARCHIVE_RUN_INTERVAL_MS > interval
        )
        return [run.token for run in found]

    assert later(cut(blocks[flushed:], mark, flushed)) == later(cut(blocks))


@given(SHAPES, st.data())
@settings(max_examples=60, deadline=None)
def test_blocks_of_zombies_and_repetitions_change_no_run(chains, shapes, data):
    blocks = chains.chain(0, shapes)
    ledger = []
    for block in blocks:
        ledger.append(block)
        if data.draw(st.booleans()):
            older = blocks[data.draw(st.integers(0, block.meta.seq))]
            foreign = chains.block_after(older, 3, salt="zombie") if older is not block else block
            ledger.append(foreign)
    runs = cut(ledger)
    assert [run.token for run in runs] == [run.token for run in cut(blocks)]
    assert all(ledger[b.ledger_offset] is b.block for run in runs for b in run.blocks)


def test_a_missing_block_is_a_broken_chain(chains):
    blocks = chains.chain(0, [(1, 0)] * 5)
    with pytest.raises(ChainBroken, match=r"block 4 .* does not follow block 2 .* something is missing"):
        cut(blocks[:3] + blocks[4:])
    with pytest.raises(ChainBroken, match="does not follow nothing"):
        cut(blocks[1:])


def test_the_archive_must_end_where_the_ledger_has_the_same_block(chains):
    blocks = chains.chain(0, [(1, 0)] * 5)
    other = chains.chain(0, [(2, 0)] * 5)
    mark = cut(blocks[:4])[-1].end
    assert seqs(cut(blocks[3:], mark, 3)) == [4, 5]
    with pytest.raises(ChainBroken, match="the archive ends with block 3"):
        cut(other[3:], mark, 3)
    with pytest.raises(ChainBroken, match="at ledger offset 4"):
        cut(blocks[4:], mark, 4)


def test_refused_records_with_their_bytes_end_a_run_before_memory_does(chains, monkeypatch):
    monkeypatch.setattr(archive_run, "ARCHIVE_RUN_BYTES_MIN", 10_000)
    blocks = chains.chain(0, [])
    for _ in range(4):
        blocks.append(chains.block_after(blocks[-1], 1, raw=[b"x" * 6_000]))
    assert [len(run.blocks) for run in cut(blocks)] == [3, 2]


def test_a_token_names_shard_range_and_content(chains):
    run = cut(chains.chain(0, [(1, 0)]))[0]
    assert run.token == f"0:0-1:{run.blocks[1].block.hash.hex()}"
