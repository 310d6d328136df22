"""The rows of a block that belong to records: what the record said, beside what was decided. Pure."""

import datetime as dt
import hashlib
from typing import NamedTuple

import orjson
import pyarrow as pa
from msgspec import UNSET

from schemas.block import Span
from schemas.command import command_inputs
from schemas.fields import Keep
from schemas.formats import COLUMNS, Columns, empty_columns
from schemas.kinds import Command, Kind, kind_of
from schemas.report import FIELDS, Report, to_ms
from schemas.reports import RARE, Reports
from schemas.verdicts import (
    DEAD_LETTER,
    KEEPS_ID_ALONE,
    KEEPS_NO_UID,
    REMEMBERS_ID,
    TAKES_CLAIM,
    TELLS_BALANCE,
    Verdict,
)
from stream.core.cycle_input import Cycle
from stream.core.read import Reading, bytes_hash

# The decided columns of one row, as a tuple in this order; everything else is copied from the record.
DECIDED = (
    "verdict",
    "detail",
    "balance_milli",
    "methodology_version",
    "exchange_version",
    "reduction_mg",
    "points_milli",
    "expiry_day",
)
Decided = tuple[int, str, int, int, int, int, int, int]


def append_records(
    columns: Columns, cycle: Cycle, reading: Reading, rows: list[Decided], dedupe_key: bytes
) -> None:
    """The record rows, column by column."""
    for name, values in zip(DECIDED, zip(*rows, strict=True), strict=True):
        columns[name] += values
    first, n, reports = len(columns["kind"]), len(rows), reading.reports
    verdicts = columns["verdict"][first:]
    columns["kind"] += [int(Kind.REPORT) if uid else int(Kind.NONE) for uid in reports.uid]
    columns["source"] += cycle.source
    columns["offset"] += cycle.offset
    columns["last_offset"] += cycle.last_offset
    columns["broker_ms"] += cycle.broker_ms
    columns["time_ms"] += cycle.time_ms
    for name in _COPIED:
        columns[name] += getattr(reports, name)
    columns["inputs"] += [""] * n
    columns["certifiable"] += [1 if uid else 0 for uid in reports.uid]
    for i, report in reports.rare.items():
        columns["inputs"][first + i] = _rare_inputs(report)
        columns["certifiable"][first + i] = int(report.other_mechanism is not True)
    columns["tells_balance"] += [1] * n
    columns["id_member"] += reading.members.id
    columns["claim_member"] += reading.members.claim
    for name in ("lots", "bytes_size", "bytes_hash", "by", "approved_by", "reason"):
        columns[name] += [_BLANK[name]] * n
    for i, verdict in enumerate(verdicts):
        if verdict not in TAKES_CLAIM:
            value = reading.replay.value if reading.replay and i == n - 1 else cycle.value[i]
            _keep_less(columns, first + i, value, verdict, dedupe_key)
    if command := reading.replay or reading.command:
        _name_command(columns, command)


def _keep_less(columns: Columns, at: int, value: object, verdict: int, dedupe_key: bytes) -> None:
    """A record that was not recorded takes no claim. Of one refused early only what finds it again is kept:
    its id, its size and a keyed hash.

    A plain hash of a short record could be enumerated. The bytes stay in the app's topic for 30 days.
    """
    columns["claim_member"][at] = 0
    if verdict not in REMEMBERS_ID:
        columns["id_member"][at] = 0
    if verdict not in TELLS_BALANCE:
        columns["tells_balance"][at] = 0
    if verdict in KEEPS_ID_ALONE:
        for name, blank in _FORGOTTEN.items():
            columns[name][at] = blank
    if verdict in KEEPS_NO_UID:
        columns["uid"][at] = ""
    if verdict in DEAD_LETTER and isinstance(value, bytes):
        columns["bytes_size"][at] = len(value)
        columns["bytes_hash"][at] = bytes_hash(value, dedupe_key)


def _name_command(columns: Columns, command: Command) -> None:
    """The last row is a command's: what it says; of a replay beside what the record itself said."""
    said, inputs = command_inputs(command), columns["inputs"][-1]
    columns["kind"][-1] = int(kind_of(command))
    columns["inputs"][-1] = f"{said[:-1]},{inputs[1:]}" if inputs else said
    for name in ("by", "approved_by", "reason"):
        columns[name][-1] = getattr(command, name)


class Lost(NamedTuple):
    """Records of a source that nobody will read: from offset `first` to `last`, which may be without end."""

    span: Span
    first: int
    last: int
    time_ms: int


def append_lost(columns: Columns, sources: list[Span], lost: Lost) -> list[Span]:
    """One row about what was lost; returns the block's sources, that of the loss among them."""
    known = [(span.topic, span.topic_id) for span in sources]
    named = (lost.span.topic, lost.span.topic_id)
    if named not in known:
        sources, known = [*sources, lost.span], [*known, named]
    row = empty_columns(1)
    row |= {
        "verdict": [int(Verdict.DELETED_UNREAD)],
        "source": [known.index(named)],
        "offset": [lost.first],
        "last_offset": [lost.last],
        "time_ms": [lost.time_ms],
        "detail": ["records: deleted before they were read"],
    }
    for name, values in row.items():
        columns[name] += values
    return sources


_BLANK = {"lots": [], "bytes_size": 0, "bytes_hash": "", "by": "", "approved_by": "", "reason": ""}
_COPIED = Reports._fields[2:]  # behind what is not a column
# What is not kept of a record that was refused early.
_FORGOTTEN = {
    **{
        name: "" if COLUMNS[name] == pa.string() else 0
        for name in _COPIED
        if name not in ("uid", "report_id")
    },
    "inputs": "",
    "certifiable": 0,
}


def _rare_inputs(report: Report) -> str:
    """The inputs that few reports carry, as JSON: instants in ms, what is opaque as its hash."""
    inputs: dict[str, object] = {}
    for name in RARE:
        value = getattr(report, name)
        if value is UNSET:
            continue
        if FIELDS[name].keep is Keep.HASH:
            inputs[f"{name}_sha256"] = hashlib.sha256(bytes(value)).hexdigest()
        elif isinstance(value, dt.datetime):
            inputs[f"{name.removesuffix('_at')}_ms"] = to_ms(value)
        else:
            inputs[name] = value
    return orjson.dumps(inputs).decode()
