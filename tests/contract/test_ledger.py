"""What every ledger promises: offsets without holes, records read back as written, whatever they are."""

import pytest

from schemas.block import Meta, genesis_block, make_block, open_block
from schemas.formats import NEWEST, empty_columns
from schemas.ledger_record import headers_of

SHARD = 1


def blocks(count: int) -> list:
    made = [genesis_block("contract", SHARD, {"shards": 4}, 1_000)]
    for seq in range(1, count):
        columns = empty_columns(3) | {"uid": ["a", "b", "c"], "detail": ["", "缺少", "\0"]}
        made.append(
            make_block(
                made[-1].hash, Meta("contract", SHARD, seq, [], 1_000 + seq, 0, 0, "r"), columns, NEWEST
            )
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
    everything = [(first + n, block.record) for n, block in enumerate(written)]
    assert [open_block(record) for _, record in run(read(ledger, first, first + 5))] == written
    assert run(read(ledger, first, first + 5)) == everything
    assert run(read(ledger, first + 1, first + 4)) == everything[1:4]
    assert run(read(ledger, first + 4, first + 5)) == everything[4:]
    assert run(read(ledger, first + 2, first + 2)) == []


def test_shards_have_their_own_offsets(ledger, run) -> None:
    ledger, _ = ledger
    before = [run(ledger.end(shard)) for shard in (SHARD, SHARD + 1)]
    run(ledger.append(blocks(1)[0]))
    assert [run(ledger.end(shard)) for shard in (SHARD, SHARD + 1)] == [before[0] + 1, before[1]]


@pytest.mark.parametrize("what", ["junk", "empty", "nothing", "another hash", "a changed byte", "no headers"])
def test_what_does_not_count_is_passed_on_and_told_apart(ledger, run, what: str) -> None:
    """Nobody looks inside, and no record is left out: a reader that counts them counts them all."""
    ledger, put = ledger
    first, second, third = blocks(3)
    value, headers = second.value, headers_of(second.record)
    foreign = {
        "junk": (b"junk", headers),
        "empty": (b"", []),
        "nothing": (None, [("prev", None), ("hash", None), ("release", b"\xff")]),
        "another hash": (value, [headers[0], ("hash", bytes(32)), *headers[2:]]),
        "a changed byte": (value[:-1] + bytes([value[-1] ^ 1]), headers),
        "no headers": (value, []),
    }[what]
    run(ledger.append(first))
    offset = put(SHARD, *foreign)
    assert run(ledger.append(second)) == offset + 1
    found = run(read(ledger, offset - 1, offset + 2))
    assert [at for at, _ in found] == [offset - 1, offset, offset + 1]
    assert [record.follows(first.hash) for _, record in found] == [False, False, True]
    assert found[1][1].value == (foreign[0] or b"")
    assert not third.record.follows(first.hash)
