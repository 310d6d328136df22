"""Every format in which blocks were ever written: the columns of its rows, and how older rows are read.

What is in memory has the newest format's columns. A block of an older one is upcast as it is opened, step by
step: rows of format 1 as those of format 2, and so on. So a format is one entry here, and nothing above
knows which one a block was written in.

What is written is the format in force, which a command says (schemas/kinds/format.py): a release that knows
a newer one writes as the release before until then, and can be gone back from. A format is frozen once a
release that writes it was published; docs/changes.md says which ones are.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa

_I64, _I32, _I16, _U8, _TEXT = pa.int64(), pa.int32(), pa.int16(), pa.uint8(), pa.string()
_LOT = pa.struct([
    pa.field("expiry_day", pa.int32(), nullable=False), pa.field("points_milli", pa.int64(), nullable=False)
])  # fmt: skip
_LOTS = pa.list_(pa.field("item", _LOT, nullable=False))

# Rows of a block. A record's row has source >= 0; the platform's own rows (genesis, expiry) belong to no
# record.
_FORMAT_1: dict[str, pa.DataType] = {
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


class Format(NamedTuple):
    """`columns`: of its rows; `upcast`: rows of the format before, as this one's rows."""

    columns: dict[str, pa.DataType]
    upcast: Callable[[pa.RecordBatch], pa.RecordBatch]

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(name, kind, nullable=False) for name, kind in self.columns.items()])


def _begins(rows: pa.RecordBatch) -> pa.RecordBatch:
    raise AssertionError("there is no format before the first one")


FORMATS: dict[int, Format] = {1: Format(_FORMAT_1, _begins)}
NEWEST = max(FORMATS)
COLUMNS = FORMATS[NEWEST].columns
SCHEMAS: dict[int, pa.Schema] = {number: known.schema for number, known in FORMATS.items()}
Columns = dict[str, list[Any]]  # values by the names of COLUMNS, one entry a row


def empty_columns(rows: int) -> Columns:
    """Columns of `rows` rows in which nothing is said yet: 0, '' and no lots."""
    blank: dict[pa.DataType, Any] = {_TEXT: "", _LOTS: []}
    return {name: [blank.get(kind, 0)] * rows for name, kind in COLUMNS.items()}


def packed(columns: Columns, number: int) -> pa.RecordBatch:
    """Rows as format `number` has them; what came with a later one is left out."""
    arrays = [_array(columns[name], kind) for name, kind in FORMATS[number].columns.items()]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMAS[number])


def upcast(rows: pa.RecordBatch, number: int) -> pa.RecordBatch:
    """Rows of format `number` as the newest format has them."""
    for later in range(number + 1, NEWEST + 1):
        rows = FORMATS[later].upcast(rows)
    return rows


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """A column. Most texts of most blocks say nothing, and need not be looked at one by one."""
    if kind != _TEXT or any(values):
        return pa.array(values, kind)
    ends = pa.py_buffer(bytes(4 * (len(values) + 1)))
    return pa.StringArray.from_buffers(len(values), ends, pa.py_buffer(b""))
