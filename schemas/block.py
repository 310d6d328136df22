"""The ledger block: one cycle of one shard, one Kafka record, one link of the shard's chain.

The hash covers a canonical encoding (fixed little-endian columns and offsets), never the Arrow bytes, whose
layout belongs to a library's version. Readers accept a block if and only if its `prev` is their head's hash.
"""

import hashlib
from typing import NamedTuple

import msgspec
import numpy as np
import orjson
import pyarrow as pa

from schemas.state import ZERO_HASH

FORMAT = b"points-block-1"
_I64, _I32, _I16, _U8, _TEXT, _RAW = pa.int64(), pa.int32(), pa.int16(), pa.uint8(), pa.string(), pa.binary()

# Rows of a block. A record's row has source >= 0; EXPIRED and GENESIS rows belong to no record.
COLUMNS: dict[str, pa.DataType] = {
    "verdict": _U8,
    "source": _I16,  # index into the block's sources, -1 for none
    "offset": _I64,
    "broker_ms": _I64,  # the record's LogAppendTime
    "time_ms": _I64,  # the shard's time at this row
    "uid": _TEXT,
    "report_id": _TEXT,
    "methodology": _TEXT,
    "methodology_version": _I16,
    "exchange_version": _I16,
    "occurred_ms": _I64,
    "unit": _TEXT,
    "activity": _I64,
    "reduction_mg": _I64,
    "points_milli": _I64,
    "expiry_day": _I32,
    "balance_milli": _I64,
    "id_member": _I64,  # 0: not remembered
    "claim_member": _I64,  # 0: no claim taken
    "source_txn": _TEXT,
    "region": _TEXT,
    "inputs": _TEXT,  # the rarer inputs (scene_id, ended_at, ...) as JSON; '' if there are none
    "detail": _TEXT,
    "raw": _RAW,  # of a refused record; b'' otherwise
}
SCHEMA = pa.schema([pa.field(name, kind, nullable=False) for name, kind in COLUMNS.items()])
_WRITE = pa.ipc.IpcWriteOptions(compression="lz4")


class Span(msgspec.Struct, frozen=True, array_like=True):
    """What a block consumed of one source topic: offsets `first` <= o < `next` of this shard's partition."""

    topic: str
    first: int
    next: int


class Meta(msgspec.Struct, frozen=True):
    """A block's head: where it stands in the chain, and the state it leaves behind beside the rows."""

    platform: str
    shard: int
    seq: int
    sources: list[Span]
    time_ms: int
    clock_offset_ms: int
    published_to: int
    rules: str  # "version:sha256" of the rules bundle that decided
    genesis: dict | None = None  # only at seq 0: shards, dedupe key, simulated clock or not


class Block(NamedTuple):
    """A block in memory: `rows` has the columns of `SCHEMA`."""

    prev: bytes
    meta: Meta
    rows: pa.RecordBatch
    hash: bytes


_decode_meta = msgspec.json.Decoder(Meta).decode


def make_block(prev: bytes, meta: Meta, columns: dict[str, list]) -> Block:
    """Seals rows into a block that follows the block with hash `prev`."""
    rows = pa.RecordBatch.from_arrays(
        [pa.array(columns[name], kind) for name, kind in COLUMNS.items()], schema=SCHEMA
    )
    return Block(prev, meta, rows, block_hash(prev, meta, rows))


def block_hash(prev: bytes, meta: Meta, rows: pa.RecordBatch) -> bytes:
    """SHA-256 over the canonical encoding of a block; 32 bytes."""
    digest = hashlib.sha256(FORMAT)
    digest.update(prev)
    head = orjson.dumps(msgspec.to_builtins(meta), option=orjson.OPT_SORT_KEYS)
    digest.update(len(head).to_bytes(8, "little"))
    digest.update(head)
    digest.update(rows.num_rows.to_bytes(8, "little"))
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        digest.update(name.encode())
        for part in _canonical(column):
            digest.update(part)
    return digest.digest()


def _canonical(column: pa.Array) -> list:
    """Little-endian values; for texts 32-bit ends and the bytes; nothing of Arrow's padding and offsets."""
    buffers = column.buffers()
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        ends = np.frombuffer(buffers[1], "<i4", len(column) + 1, column.offset * 4)
        data = memoryview(buffers[2] or b"")[int(ends[0]) : int(ends[-1])]
        return [(ends[1:] - ends[0]).astype("<i4").tobytes(), data]
    width = column.type.bit_width // 8
    return [memoryview(buffers[1])[column.offset * width : (column.offset + len(column)) * width]]


def encode_block(block: Block) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The Kafka record of a block: value and headers."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA, options=_WRITE) as writer:
        writer.write_batch(
            block.rows, custom_metadata={"meta": orjson.dumps(msgspec.to_builtins(block.meta))}
        )
    headers = [("seq", str(block.meta.seq).encode()), ("prev", block.prev), ("hash", block.hash)]
    return sink.getvalue().to_pybytes(), headers


_UNREADABLE = (
    pa.ArrowException, OSError, KeyError, StopIteration, msgspec.DecodeError, TypeError, ValueError
)  # fmt: skip


class BlockError(ValueError):
    """A ledger record that is no block: the topic holds something that nobody but a broken writer wrote."""


def decode_block(value: bytes, headers: list[tuple[str, bytes]]) -> Block:
    """The block of a Kafka record, its hash verified. Raises `BlockError`."""
    named = dict(headers)
    try:
        with pa.ipc.open_stream(value or b"") as reader:
            rows, metadata = reader.read_next_batch_with_custom_metadata()
        meta = _decode_meta(metadata["meta"])
        prev, expected = named["prev"], named["hash"]
        rows.validate(full=True)  # ends and texts lie within their buffers, whoever wrote them
    except _UNREADABLE as error:
        raise BlockError(f"ledger record is no block: {type(error).__name__}") from error
    if not rows.schema.equals(SCHEMA):
        raise BlockError("ledger record has other columns than this version knows")
    if any(column.null_count for column in rows.columns):
        raise BlockError(f"block seq {meta.seq}: a value is missing")
    if block_hash(prev, meta, rows) != expected:
        raise BlockError(f"block seq {meta.seq}: hash does not match its content")
    return Block(prev, meta, rows, expected)


def genesis_block(platform: str, shard: int, genesis: dict, time_ms: int) -> Block:
    """The first block of a shard's chain: one row, and what holds for the life of the platform."""
    from schemas.verdicts import Verdict

    columns = empty_columns(1)
    columns["verdict"] = [int(Verdict.GENESIS)]
    columns["time_ms"] = [time_ms]
    columns["source"] = [-1]
    meta = Meta(platform, shard, 0, [], time_ms, 0, 0, "", genesis)
    return make_block(ZERO_HASH, meta, columns)


def empty_columns(rows: int) -> dict[str, list]:
    """Columns of `rows` rows in which nothing is said yet: 0, '' and b''."""
    blank = {_TEXT: "", _RAW: b""}
    return {name: [blank.get(kind, 0)] * rows for name, kind in COLUMNS.items()}
