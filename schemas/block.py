"""The ledger block: one cycle of one shard, one Kafka record, one link of the shard's chain.

A ledger record's value: the number of its format (2 bytes), the unpacked size (4 bytes), both big-endian;
then, compressed by zstd as one: the length of `Meta` (4 bytes), `Meta` as JSON, and the rows as an Arrow
record batch without its schema, which is the format's (schemas/formats.py). At a city's usual load most
blocks are small: a whole Arrow stream costs 4,050 bytes before its first row; this form takes 650 bytes for
one row, 220 a row for four, 60 in large blocks.
"""

from typing import Any, NamedTuple

import msgspec
import orjson
import pyarrow as pa

from schemas.formats import FORMATS, NEWEST, SCHEMAS, Columns, empty_columns, packed, upcast
from schemas.kinds import Kind
from schemas.ledger_record import FORMAT_BYTES, LedgerRecord, record_hash
from schemas.limits import BLOCK_UNPACKED_BYTES_MAX
from schemas.state import ZERO_HASH, Lag
from schemas.verdicts import Verdict

RELEASE = "0.2"
_CODEC = pa.Codec("zstd", compression_level=1)  # 0.18 us a row; level 3 takes 0.4 for the same size


class Span(msgspec.Struct, frozen=True, array_like=True):
    """What a block consumed of one source, and what it leaves behind of it.

    A source is a topic with its id: offsets of a topic that was made again are others. The block consumed
    offsets `first` <= o < `next` of this shard's partition. `paid_us`: see `schemas.state.Source`.
    """

    topic: str
    topic_id: str
    first: int
    next: int
    paid_us: int = 0
    day: int = 0
    day_rows: int = 0


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
    release: str = RELEASE  # whose code decided
    lags: dict[str, Lag] = {}  # topics of outcomes that are behind `published_to`
    genesis: dict[str, Any] | None = (
        None  # only at seq 0: shards, dedupe key, fair_rows_s, simulated clock or not
    )


class Block(NamedTuple):
    """A block in memory: `rows` has the newest format's columns; `value` is its stored form, under `hash`."""

    prev: bytes
    meta: Meta
    rows: pa.RecordBatch
    value: bytes
    hash: bytes

    @property
    def record(self) -> LedgerRecord:
        """The block as topic `ledger` holds it."""
        return LedgerRecord(self.prev, self.hash, self.value, self.meta.release)

    @property
    def format(self) -> int:
        """The format in which it was written."""
        return self.record.format


class BlockError(ValueError):
    """A ledger record that counts, but holds no block: a writer that is none of ours, or is broken."""


class NewerFormat(Exception):
    """A format that this release cannot read, or is not to write: `release`, or a later one, can."""

    def __init__(self, number: int, release: str) -> None:
        super().__init__(f"a block is of format {number}: release {release} reads it, this is {RELEASE}")
        self.format, self.release = number, release


_decode_meta = msgspec.json.Decoder(Meta).decode


def make_block(prev: bytes, meta: Meta, columns: Columns, number: int) -> Block:
    """Seals rows into a block that follows the block with hash `prev`, in format `number`.

    Its rows are those that a reader finds: of an older format without what came later.
    """
    rows = packed(columns, number)
    value = _encode(meta, rows, number)
    return Block(prev, meta, upcast(rows, number), value, record_hash(prev, value))


def _encode(meta: Meta, rows: pa.RecordBatch, number: int) -> bytes:
    head = orjson.dumps(msgspec.to_builtins(meta))
    body = b"".join((len(head).to_bytes(4, "big"), head, rows.serialize()))
    packed = _CODEC.compress(body, asbytes=True)
    return b"".join((number.to_bytes(FORMAT_BYTES, "big"), len(body).to_bytes(4, "big"), packed))


_UNREADABLE = (pa.ArrowException, OSError, msgspec.DecodeError, TypeError, ValueError)


def open_block(record: LedgerRecord) -> Block:
    """The block of a ledger record that counts. Raises `NewerFormat` or `BlockError`."""
    if record.format > NEWEST:
        raise NewerFormat(record.format, record.release)
    try:
        meta, rows = _decode(record.format, record.value)
        rows.validate(full=True)  # ends and texts lie within their buffers, whoever wrote them
    except _UNREADABLE as error:
        raise BlockError(f"ledger record is no block: {type(error).__name__}") from error
    if not rows.num_rows or any(column.null_count for column in rows.columns):
        raise BlockError(f"block seq {meta.seq}: a row or a value is missing")
    return Block(record.prev, meta, upcast(rows, record.format), record.value, record.hash)


def open_next(record: LedgerRecord, shard: int, seq: int) -> Block:
    """As `open_block`, of a record that counts where block `seq` of a shard is due."""
    block = open_block(record)
    found = (block.meta.shard, block.meta.seq)
    if found != (shard, seq):
        raise BlockError(
            f"block {found[1]} of shard {found[0]} stands where block {seq} of shard {shard} is due"
        )
    return block


def _decode(number: int, value: bytes) -> tuple[Meta, pa.RecordBatch]:
    at = FORMAT_BYTES + 4
    size = int.from_bytes(value[FORMAT_BYTES:at], "big")
    if number not in FORMATS or size > BLOCK_UNPACKED_BYTES_MAX:
        raise ValueError("no value of a format")
    body = _CODEC.decompress(value[at:], decompressed_size=size)
    head = int.from_bytes(body[:4], "big")
    meta = _decode_meta(memoryview(body)[4 : 4 + head])
    return meta, pa.ipc.read_record_batch(body.slice(4 + head), SCHEMAS[number])


def genesis_block(
    platform: str, shard: int, genesis: dict[str, Any], time_ms: int, sources: list[Span] | None = None
) -> Block:
    """The first block of a shard's chain: one row, and what holds for the life of the platform.

    `sources`: topic `commands` with its id, from where the platform speaks. Its own format is the one with
    which the platform begins, the newest of the release that sets it up.
    """
    columns = empty_columns(1)
    columns["kind"] = [int(Kind.GENESIS)]
    columns["verdict"] = [int(Verdict.GENESIS)]
    columns["time_ms"] = [time_ms]
    columns["source"] = [-1]
    meta = Meta(platform, shard, 0, sources or [], time_ms, 0, 0, "", genesis=genesis)
    return make_block(ZERO_HASH, meta, columns, NEWEST)
