"""What every ledger promises: offsets without holes, blocks read back, nothing foreign passed on."""

import pytest

from schemas.block import BlockError, Meta, empty_columns, encode_block, genesis_block, make_block

SHARD = 1


def blocks(count: int) -> list:
    made = [genesis_block("contract", SHARD, {"shards": 4}, 1_000)]
    for seq in range(1, count):
        columns = empty_columns(3) | {"uid": ["a", "b", "c"], "raw": [b"", bytes(range(256)), b"\0"]}
        made.append(
            make_block(made[-1].hash, Meta("contract", SHARD, seq, [], 1_000 + seq, 0, 0, "r"), columns)
        )
    return made


async def read(ledger, start: int, end: int) -> list:
    return [found async for found in ledger.read(SHARD, start, end)]


def test_offsets_are_contiguous_and_end_names_the_next(ledger, run) -> None:
    ledger, _ = ledger
    first = run(ledger.end(SHARD))
    assert [run(ledger.append(block)) for block in blocks(4)] == [first, first + 1, first + 2, first + 3]
    assert run(ledger.end(SHARD)) == first + 4
    run(ledger.renew(SHARD))
    assert run(ledger.append(blocks(1)[0])) == first + 4, "a new producer goes on where the old one ended"


def test_any_range_is_read_back_in_order(ledger, run) -> None:
    ledger, _ = ledger
    first, written = run(ledger.end(SHARD)), blocks(5)
    for block in written:
        run(ledger.append(block))
    everything = [(first + n, block) for n, block in enumerate(written)]
    assert run(read(ledger, first, first + 5)) == everything
    assert run(read(ledger, first + 1, first + 4)) == everything[1:4]
    assert run(read(ledger, first + 4, first + 5)) == everything[4:]
    assert run(read(ledger, first + 2, first + 2)) == []


def test_shards_have_their_own_offsets(ledger, run) -> None:
    ledger, _ = ledger
    before = [run(ledger.end(shard)) for shard in (SHARD, SHARD + 1)]
    run(ledger.append(blocks(1)[0]))
    assert [run(ledger.end(shard)) for shard in (SHARD, SHARD + 1)] == [before[0] + 1, before[1]]


@pytest.mark.parametrize("what", ["junk", "empty", "another hash", "a changed byte"])
def test_what_is_no_block_is_never_passed_on(ledger, run, what: str) -> None:
    ledger, put = ledger
    value, headers = encode_block(blocks(2)[1])
    foreign = {
        "junk": (b"junk", headers),
        "empty": (b"", []),
        "another hash": (value, [*headers[:2], ("hash", bytes(32))]),
        "a changed byte": (value[:-300] + b"\xff\xfe\xfd" + value[-297:], headers),
    }[what]
    run(ledger.append(blocks(1)[0]))
    offset = put(SHARD, *foreign)
    with pytest.raises(BlockError):
        run(read(ledger, offset, offset + 1))
    assert len(run(read(ledger, offset - 1, offset))) == 1
