"""Blocks as ledger records: which count, by a frozen rule; what they hold; nothing worse than an error."""

import contextlib
import functools
import hashlib

import msgspec
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.block import (
    RELEASE,
    Block,
    BlockError,
    Meta,
    NewerFormat,
    Span,
    genesis_block,
    make_block,
    open_block,
    open_next,
)
from schemas.formats import COLUMNS, NEWEST, SCHEMAS, empty_columns
from schemas.ledger_record import LedgerRecord, headers_of, read_record, record_hash
from schemas.limits import BLOCK_UNPACKED_BYTES_MAX
from schemas.state import ZERO_HASH, Person
from tests.making import BUS, HASH, METRO, NOON, TODAY, clock, record, uid
from tests.unit.test_decide import decided


@functools.cache
def sample() -> Block:
    """An expiry, a report with everything, one that cannot be read, and a command."""
    return decided(
        (METRO, record("a", region="440305", scene_id="metro-gate")), (BUS, b"junk"),
        ("commands", clock(NOON)), persons={uid(): Person({TODAY - 1: 5})},
    )  # fmt: skip


def counted(value: bytes, prev: bytes = HASH) -> LedgerRecord:
    """A record that counts after `prev`, whatever its value."""
    return LedgerRecord(prev, record_hash(prev, value), value, "9.1")


# --- whether a record counts ------------------------------------------------------------------------------


def test_the_rule_is_the_one_that_all_releases_agree_on() -> None:
    """Frozen: a changed domain or order of bytes would part the ledger's readers."""
    value = b"\0\1abc"
    said = hashlib.sha256(b"points-ledger\n" + b"p" * 32 + value).digest()
    assert record_hash(b"p" * 32, value) == said
    assert said.hex() == "d90c1f2136493dfb2cc00ee90b593fbb90a0f6365ac85da5730625f5462db939"


def test_a_record_counts_by_its_headers_and_its_bytes_alone() -> None:
    for value in (sample().value, b"", b"\0\2 a later format", b"garbage"):
        found = read_record(value, [("hash", record_hash(HASH, value)), ("x", None), ("prev", HASH)])
        assert found.follows(HASH)
        assert not found.follows(b"x" * 32)
        assert not found._replace(value=value + b"x").follows(HASH)
        assert not found._replace(hash=b"x" * 32).follows(HASH)
        assert not found._replace(prev=b"x" * 32).follows(b"x" * 32), "the hash covers the link"


def test_a_block_is_written_and_found_again() -> None:
    written = sample().record
    headers = headers_of(written)
    assert dict(headers) == {
        "prev": HASH, "hash": sample().hash, "format": b"1", "release": RELEASE.encode(),
    }  # fmt: skip
    found = read_record(written.value, headers)
    assert found == written
    assert found.follows(HASH)
    assert open_block(found) == sample()


@given(
    st.none() | st.binary(max_size=9),
    st.lists(st.tuples(st.sampled_from(["prev", "hash", "format", "release", "x"]), st.none() | st.binary())),
)
def test_any_record_of_the_topic_can_be_asked_whether_it_counts(value: bytes | None, headers: list) -> None:
    found = read_record(value, headers)
    assert not found.follows(HASH)
    assert not found.follows(ZERO_HASH)
    assert found.format >= 0
    assert isinstance(found.prev + found.hash + found.value, bytes)


@pytest.mark.parametrize("name", Meta.__struct_fields__)
def test_the_hash_covers_every_field_of_the_head(name: str) -> None:
    block = sample()
    other = {
        "platform": "x", "rules": "x", "release": "x", "genesis": {}, "sources": [Span("x", "i", 0, 1)],
    }  # fmt: skip
    changed = msgspec.structs.replace(block.meta, **{name: other.get(name, 77)})
    assert make_block(block.prev, changed, block.rows.to_pydict(), NEWEST).hash != block.hash


@pytest.mark.parametrize("name", Span.__struct_fields__)
def test_the_hash_covers_every_field_of_a_span(name: str) -> None:
    block = sample()
    first, *others = block.meta.sources
    other = msgspec.structs.replace(first, **{name: "x" if name.startswith("topic") else 77})
    changed = msgspec.structs.replace(block.meta, sources=[other, *others])
    assert make_block(block.prev, changed, block.rows.to_pydict(), NEWEST).hash != block.hash


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(list(COLUMNS)), row=st.integers(0, 2), data=st.data())
def test_the_hash_covers_every_value(name: str, row: int, data: st.DataObject) -> None:
    columns = sample().rows.to_pydict()
    lot = st.fixed_dictionaries({"expiry_day": st.integers(0, 9), "points_milli": st.integers(0, 9)})
    strategy = {"string": st.text(max_size=4), "lots": st.lists(lot, max_size=3)}.get(
        name if name == "lots" else str(COLUMNS[name]), st.integers(0, 100)
    )
    columns[name][row] = data.draw(strategy.filter(lambda value: value != columns[name][row]))
    changed = make_block(sample().prev, sample().meta, columns, NEWEST)
    assert changed.hash != sample().hash
    assert open_block(changed.record).rows.column(name).to_pylist() == columns[name]


@given(
    st.text("ab", max_size=4), st.text("ab", max_size=4), st.text("ab", max_size=4), st.text("ab", max_size=4)
)
def test_texts_cannot_be_shifted_between_rows_and_columns(a: str, b: str, c: str, d: str) -> None:
    one, other = _one_row(uid=a, report_id=b), _one_row(uid=c, report_id=d)
    assert (one.hash == other.hash) == ((a, b) == (c, d))


def _one_row(**said: object) -> Block:
    columns = empty_columns(1) | {name: [value] for name, value in said.items()}
    return make_block(ZERO_HASH, Meta("test", 0, 0, [], 0, 0, 0, ""), columns, NEWEST)


# --- what it holds ----------------------------------------------------------------------------------------


def test_a_small_block_is_small() -> None:
    """At a city's usual load most blocks have a few rows: Arrow's own stream has 4,050 bytes before one."""
    one = decided((METRO, record("a", source_txn="TXN-20240907-000001")))
    assert len(one.value) < 700
    many = decided(*[(METRO, record(f"n{n}", source_txn=f"t{n}")) for n in range(1_000)])
    assert len(many.value) / 1_000 < 90


def test_a_genesis_says_what_holds_for_the_platforms_life() -> None:
    said = {"shards": 4, "dedupe_key": "00", "simulated_clock": False, "fair_rows_s": 300}
    block = open_block(genesis_block("p", 3, said, 7, [Span("commands", "id", 0, 0)]).record)
    assert (block.meta.genesis, block.meta.shard, block.meta.seq, block.prev) == (said, 3, 0, ZERO_HASH)
    assert block.meta.release == RELEASE
    assert open_block(genesis_block("p", 3, said, 7).record).meta.sources == []


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_that_count_are_no_block_and_nothing_worse(data: st.DataObject) -> None:
    value = sample().value
    at = data.draw(st.integers(0, len(value) - 1))
    damaged = value[:at] + data.draw(st.binary(max_size=3)) + value[at + data.draw(st.integers(0, 3)) :]
    with contextlib.suppress(BlockError, NewerFormat):
        open_block(counted(damaged))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_rows_behind_whole_zstd_are_no_block_and_nothing_worse(data: st.DataObject) -> None:
    """Arrow's own reader trusts its input: ends beyond their buffers must not be read."""
    body = bytearray(unpacked(sample()))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BlockError):
        block = open_block(counted(packed_again(bytes(body))))
        block.rows.to_pylist()


def unpacked(block: Block) -> bytes:
    size = int.from_bytes(block.value[2:6], "big")
    return pa.Codec("zstd").decompress(block.value[6:], decompressed_size=size, asbytes=True)


def packed_again(body: bytes, size: int | None = None, format_number: int = 1) -> bytes:
    told = len(body) if size is None else size
    head = format_number.to_bytes(2, "big") + told.to_bytes(4, "big")
    return head + pa.Codec("zstd").compress(body, asbytes=True)


def body_of(meta: bytes, rows: pa.RecordBatch) -> bytes:
    return len(meta).to_bytes(4, "big") + meta + rows.serialize().to_pybytes()


def test_bytes_made_by_hand_are_what_is_written() -> None:
    """The format, once more: so that the tests below break the part that they name and no other."""
    meta = orjson.dumps(msgspec.to_builtins(sample().meta))
    assert open_block(counted(packed_again(body_of(meta, sample().rows)))).rows == sample().rows


@pytest.mark.parametrize(
    "value",
    [b"", b"\0", b"\0\1", b"\0\1\0\0\0\4", b"\0\0junk", packed_again(b"\0\0\0\0"), packed_again(b"\xff" * 9),
     packed_again(b"x" * 99, size=BLOCK_UNPACKED_BYTES_MAX + 1), packed_again(b"x" * 99, size=98),
     packed_again(b"x" * 99, size=2**31), packed_again(unpacked(sample()), size=0), packed_again(b""),
     packed_again(b"abc"), packed_again(unpacked(sample()), format_number=0)],
)  # fmt: skip
def test_what_counts_and_is_no_block_is_told_apart_from_a_newer_format(value: bytes) -> None:
    with pytest.raises(BlockError):
        open_block(counted(value))


def test_no_more_is_unpacked_than_a_block_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Codec:
        def decompress(self, packed: bytes, decompressed_size: int) -> None:
            asked.append(decompressed_size)
            raise OSError

    monkeypatch.setattr("schemas.block._CODEC", Codec())
    for size in (BLOCK_UNPACKED_BYTES_MAX, BLOCK_UNPACKED_BYTES_MAX + 1):
        with pytest.raises(BlockError):
            open_block(counted(packed_again(b"", size=size)))
    assert asked == [BLOCK_UNPACKED_BYTES_MAX]


def test_a_missing_value_is_no_block() -> None:
    rows = sample().rows.to_pylist()
    loose = pa.schema([pa.field(f.name, f.type) for f in SCHEMAS[NEWEST]])
    rows[1]["uid"] = None
    meta = orjson.dumps(msgspec.to_builtins(sample().meta))
    body = body_of(meta, pa.RecordBatch.from_pylist(rows, schema=loose))
    with pytest.raises(BlockError):
        open_block(counted(packed_again(body)))


def test_a_block_at_another_place_than_its_own_is_no_block() -> None:
    """Its writer holds the chain's end, and is broken: nobody may go on behind it."""
    assert open_next(sample().record, 0, 6) == sample()
    for shard, seq in ((1, 6), (0, 7)):
        with pytest.raises(BlockError, match=f"block 6 of shard 0 stands where block {seq} of shard {shard}"):
            open_next(sample().record, shard, seq)


def test_a_block_without_rows_is_no_block() -> None:
    """It would leave no trace in the archive, whose chain would end there."""
    with pytest.raises(BlockError, match="a row or a value is missing"):
        open_block(make_block(HASH, sample().meta, empty_columns(0), NEWEST).record)


def test_a_newer_format_names_itself_and_who_wrote_it() -> None:
    with pytest.raises(NewerFormat) as raised:
        open_block(counted(packed_again(unpacked(sample()), format_number=2)))
    assert (raised.value.format, raised.value.release) == (2, "9.1")
