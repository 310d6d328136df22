"""The run cutter: the same ledger gives the same runs, whatever way it arrives."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.block import Block, BlockError, NewerFormat, make_block
from schemas.formats import NEWEST
from schemas.ledger_record import LedgerRecord, read_record, record_hash
from schemas.limits import ARCHIVE_RUN_INTERVAL_MS
from schemas.state import ZERO_HASH
from sinks.clickhouse.run import NOTHING, Run
from stream.engine import archive_run
from stream.engine.archive_run import ChainBroken, RunCutter

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
    return cut_records([block.record for block in blocks], mark, first)[0]


def cut_records(records, mark=NOTHING, first=0) -> tuple[list[Run], int]:
    """The runs of ledger records, and how many were ignored."""
    cutter = RunCutter(0, mark)
    runs = [run for i, record in enumerate(records) for run in cutter.push(record, first + i)]
    last = cutter.flush()
    return [*runs, last] if last else runs, cutter.ignored


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
    runs, ignored = cut_records([block.record for block in ledger])
    assert [run.token for run in runs] == [run.token for run in cut(blocks)]
    assert all(ledger[b.ledger_offset] == b.block for run in runs for b in run.blocks)
    assert ignored == len(ledger) - len(blocks)


FOREIGN = st.sampled_from(
    ["junk", "nothing", "above", "of another platform", "a changed byte", "later format"]
)


def foreign(chains, what: str, head: Block) -> LedgerRecord:
    """What does not count after `head`."""
    if what == "above":  # as a broken tool writes it: a whole chain of its own, far ahead
        other = chains.chain(0, [(1, 0)] * 9)[-1]
        return make_block(b"x" * 32, other.meta, other.rows.to_pydict(), NEWEST).record
    value = {"junk": b"junk", "nothing": b"", "later format": b"\0\2later"}.get(what, head.value)
    if what == "of another platform":
        return make_block(ZERO_HASH, head.meta, head.rows.to_pydict(), NEWEST).record._replace(prev=b"y" * 32)
    if what == "a changed byte":
        value = value[:-1] + bytes([value[-1] ^ 1])
        return LedgerRecord(head.hash, record_hash(head.hash, head.value), value)
    return read_record(value, [])


@given(SHAPES, st.data())
@settings(max_examples=60, deadline=None)
def test_what_does_not_follow_is_ignored_and_counted_as_intake_does(chains, shapes, data):
    """Both readers have one rule; the same garbage gives them the same chain, and the same count."""
    blocks = chains.chain(0, shapes)
    records = []
    for block in blocks:
        records.append(block.record)
        strangers = data.draw(st.lists(FOREIGN, max_size=2))
        records += [foreign(chains, what, block) for what in strangers]
    runs, ignored = cut_records(records)
    assert [run.token for run in runs] == [run.token for run in cut(blocks)]
    assert ignored == len(records) - len(blocks)
    head, followed = ZERO_HASH, []
    for record in records:
        if record.follows(head):
            followed.append(record)
            head = record.hash
    assert followed == [block.record for block in blocks]


def test_behind_a_missing_block_nothing_is_archived_and_every_record_is_counted(chains):
    """That Kafka lost it tells the transport, by the first offset that is left; see test_archive."""
    blocks = chains.chain(0, [(1, 0)] * 5)
    records = [block.record for block in blocks]
    runs, ignored = cut_records(records[:3] + records[4:])
    assert (seqs(runs), ignored) == ([0, 1, 2], 2)
    assert cut_records(records[1:]) == ([], 5)


def test_what_counts_and_is_no_block_of_that_place_ends_the_work(chains):
    """Its writer held the chain's end: whoever wrote it must be found, nothing behind it is right."""
    blocks = chains.chain(0, [(1, 0)] * 2)
    prev = blocks[-1].hash
    junk = LedgerRecord(prev, record_hash(prev, b"junk"), b"\0\1junk")
    with pytest.raises(BlockError, match="no block"):
        cut_records([*(b.record for b in blocks), junk._replace(hash=record_hash(prev, junk.value))])
    skipped = make_block(
        prev, msgspec.structs.replace(blocks[-1].meta, seq=4), blocks[-1].rows.to_pydict(), NEWEST
    )
    with pytest.raises(BlockError, match="block 4 of shard 0 stands where block 3"):
        cut([*blocks, skipped])
    newer = LedgerRecord(prev, record_hash(prev, b"\0\2new"), b"\0\2new", "9.1")
    with pytest.raises(NewerFormat):
        cut_records([*(b.record for b in blocks), newer])


def test_the_archive_must_end_where_the_ledger_has_the_same_block(chains):
    blocks = chains.chain(0, [(1, 0)] * 5)
    other = chains.chain(0, [(2, 0)] * 5)
    mark = cut(blocks[:4])[-1].end
    assert seqs(cut(blocks[3:], mark, 3)) == [4, 5]
    with pytest.raises(ChainBroken, match="the archive ends with block 3"):
        cut(other[3:], mark, 3)
    with pytest.raises(ChainBroken, match="at ledger offset 4"):
        cut(blocks[4:], mark, 4)


def test_long_texts_end_a_run_before_memory_does(chains, monkeypatch):
    monkeypatch.setattr(archive_run, "ARCHIVE_RUN_BYTES_MIN", 10_000)
    blocks = chains.chain(0, [])
    for _ in range(4):
        blocks.append(chains.block_after(blocks[-1], 1, inputs=["x" * 6_000]))
    assert [len(run.blocks) for run in cut(blocks)] == [3, 2]


def test_a_token_names_shard_range_and_content(chains):
    run = cut(chains.chain(0, [(1, 0)]))[0]
    assert run.token == f"0:0-1:{run.blocks[1].block.hash.hex()}"
