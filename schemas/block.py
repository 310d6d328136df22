"""The ledger block: one cycle of one shard, one Kafka record, one link of the shard's chain.

Format 1 of a ledger record's value: the format number (2 bytes), the unpacked size (4 bytes), both
big-endian; then, compressed by zstd as one: the length of `Meta` (4 bytes), `Meta` as JSON, and the rows as
an Arrow record batch without its schema, which is `SCHEMA`. At a city's usual load most blocks are small: a
whole Arrow stream costs 4,050 bytes before its first row; this form takes 650 bytes for one row, 220 a row
for four, 60 in large blocks.
"""

from typing import Any, NamedTuple

import msgspec
import orjson
import pyarrow as pa

from schemas.kinds import Kind
from schemas.ledger_record import FORMAT_BYTES, LedgerRecord, record_hash
from schemas.limits import BLOCK_UNPACKED_BYTES_MAX
from schemas.state import ZERO_HASH, Lag
from schemas.verdicts import Verdict

FORMAT = 1
RELEASE = "0.2"
_I64, _I32, _I16, _U8, _TEXT = pa.int64(), pa.int32(), pa.int16(), pa.uint8(), pa.string()
_LOT = pa.struct([
    pa.field("expiry_day", pa.int32(), nullable=False), pa.field("points_milli", pa.int64(), nullable=False)
])  # fmt: skip
_LOTS = pa.list_(pa.field("item", _LOT, nullable=False))

# Rows of a block. A record's row has source >= 0; the platform's own rows (genesis, expiry) belong to no
# record.
COLUMNS: dict[str, pa.DataType] = {
    "kind": _U8,
    "verdict": _U8,
    "source": _I16,  # index into the block's sources, -1 for none
    "offset": _I64,
    "last_offset": _I64,  # of a row about a range of offsets; everywhere else it equals `offset`
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
    "lots": _LOTS,  # of a row that touches several lots of a person: their sum is `points_milli`
    "balance_milli": _I64,
    "tells_balance": _U8,  # whether the record's app may be told the balance
    "certifiable": _U8,  # 0 if the report declares another mechanism (管理办法 Art. 16)
    "id_member": _I64,  # 0: not remembered
    "claim_member": _I64,  # 0: no claim taken
    "source_txn": _TEXT,
    "region": _TEXT,
    "inputs": _TEXT,  # the rarer inputs (scene_id, ended_at, ...), or what a command says, as JSON
    "detail": _TEXT,
    "bytes_size": _I32,  # of a record whose bytes the ledger does not keep
    "bytes_hash": _TEXT,  # keyed hash of these bytes, 32 hex digits: finds equal ones, cannot be guessed from
    "by": _TEXT,  # who gave a command, who approved it, and why: labels, which nobody here can check
    "approved_by": _TEXT,
    "reason": _TEXT,
}
Columns = dict[str, list[Any]]  # values by the names of COLUMNS, one entry a row
SCHEMA = pa.schema([pa.field(name, kind, nullable=False) for name, kind in COLUMNS.items()])
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
    """A block in memory: `rows` has the columns of `SCHEMA`, `value` is its encoded form, under `hash`."""

    prev: bytes
    meta: Meta
    rows: pa.RecordBatch
    value: bytes
    hash: bytes

    @property
    def record(self) -> LedgerRecord:
        """The block as topic `ledger` holds it."""
        return LedgerRecord(self.prev, self.hash, self.value, self.meta.release)


class BlockError(ValueError):
    """A ledger record that counts, but holds no block: a writer that is none of ours, or is broken."""


class NewerFormat(Exception):
    """A ledger record that counts, of a format that this release cannot read."""

    def __init__(self, record: LedgerRecord) -> None:
        super().__init__(record)
        self.format, self.release = record.format, record.release


_decode_meta = msgspec.json.Decoder(Meta).decode


def make_block(prev: bytes, meta: Meta, columns: Columns) -> Block:
    """Seals rows into a block that follows the block with hash `prev`."""
    rows = pa.RecordBatch.from_arrays(
        [_array(columns[name], kind) for name, kind in COLUMNS.items()], schema=SCHEMA
    )
    value = _encode(meta, rows)
    return Block(prev, meta, rows, value, record_hash(prev, value))


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """A column. Most texts of most blocks say nothing, and need not be looked at one by one."""
    if kind != _TEXT or any(values):
        return pa.array(values, kind)
    ends = pa.py_buffer(bytes(4 * (len(values) + 1)))
    return pa.StringArray.from_buffers(len(values), ends, pa.py_buffer(b""))


def _encode(meta: Meta, rows: pa.RecordBatch) -> bytes:
    head = orjson.dumps(msgspec.to_builtins(meta))
    body = b"".join((len(head).to_bytes(4, "big"), head, rows.serialize()))
    packed = _CODEC.compress(body, asbytes=True)
    return b"".join((FORMAT.to_bytes(FORMAT_BYTES, "big"), len(body).to_bytes(4, "big"), packed))


_UNREADABLE = (pa.ArrowException, OSError, msgspec.DecodeError, TypeError, ValueError)


def open_block(record: LedgerRecord) -> Block:
    """The block of a ledger record that counts. Raises `NewerFormat` or `BlockError`."""
    if record.format > FORMAT:
        raise NewerFormat(record)
    try:
        meta, rows = _decode(record.value)
        rows.validate(full=True)  # ends and texts lie within their buffers, whoever wrote them
    except _UNREADABLE as error:
        raise BlockError(f"ledger record is no block: {type(error).__name__}") from error
    if not rows.num_rows or any(column.null_count for column in rows.columns):
        raise BlockError(f"block seq {meta.seq}: a row or a value is missing")
    return Block(record.prev, meta, rows, record.value, record.hash)


def open_next(record: LedgerRecord, shard: int, seq: int) -> Block:
    """As `open_block`, of a record that counts where block `seq` of a shard is due."""
    block = open_block(record)
    found = (block.meta.shard, block.meta.seq)
    if found != (shard, seq):
        raise BlockError(
            f"block {found[1]} of shard {found[0]} stands where block {seq} of shard {shard} is due"
        )
    return block


def _decode(value: bytes) -> tuple[Meta, pa.RecordBatch]:
    at = FORMAT_BYTES + 4
    size = int.from_bytes(value[FORMAT_BYTES:at], "big")
    if int.from_bytes(value[:FORMAT_BYTES], "big") != FORMAT or not 4 <= size <= BLOCK_UNPACKED_BYTES_MAX:
        raise ValueError("no value of format 1")
    body = _CODEC.decompress(value[at:], decompressed_size=size)
    head = int.from_bytes(body[:4], "big")
    meta = _decode_meta(memoryview(body)[4 : 4 + head])
    return meta, pa.ipc.read_record_batch(body.slice(4 + head), SCHEMA)


def genesis_block(
    platform: str, shard: int, genesis: dict[str, Any], time_ms: int, sources: list[Span] | None = None
) -> Block:
    """The first block of a shard's chain: one row, and what holds for the life of the platform.

    `sources`: topic `commands` with its id, from where the platform speaks.
    """
    columns = empty_columns(1)
    columns["kind"] = [int(Kind.GENESIS)]
    columns["verdict"] = [int(Verdict.GENESIS)]
    columns["time_ms"] = [time_ms]
    columns["source"] = [-1]
    meta = Meta(platform, shard, 0, sources or [], time_ms, 0, 0, "", genesis=genesis)
    return make_block(ZERO_HASH, meta, columns)


def empty_columns(rows: int) -> Columns:
    """Columns of `rows` rows in which nothing is said yet: 0, '' and no lots."""
    blank = {_TEXT: "", _LOTS: []}
    return {name: [blank.get(kind, 0)] * rows for name, kind in COLUMNS.items()}
