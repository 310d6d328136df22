"""The rows of a block that belong to records: what the record said, beside what was decided. Pure."""

import hashlib
from typing import NamedTuple

import orjson
from msgspec import UNSET

from schemas.block import Columns, Span, empty_columns
from schemas.command import Command, command_inputs
from schemas.kinds import Kind
from schemas.refusal import Refusal
from schemas.report import EPOCH, Report, to_ms
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
# A command's class names its own kind.
_KIND: dict[type, int] = {
    Report: int(Kind.REPORT),
    Refusal: int(Kind.NONE),
}


def append_records(
    columns: Columns, cycle: Cycle, reading: Reading, rows: list[Decided], dedupe_key: bytes
) -> None:
    """The record rows, column by column."""
    for name, values in zip(DECIDED, zip(*rows, strict=True), strict=True):
        columns[name] += values
    first = len(columns["kind"])
    verdicts = columns["verdict"][first:]
    kept = [
        item if isinstance(item, Report) and verdict not in KEEPS_ID_ALONE else _NO_REPORT
        for item, verdict in zip(reading.items, verdicts, strict=True)
    ]
    columns["kind"] += [_KIND.get(item.__class__, 0) for item in reading.items]
    columns["source"] += cycle.source
    columns["offset"] += cycle.offset
    columns["last_offset"] += cycle.last_offset
    columns["broker_ms"] += cycle.broker_ms
    columns["time_ms"] += cycle.time_ms
    columns["occurred_ms"] += [
        ms if r is not _NO_REPORT else 0 for ms, r in zip(reading.occurred_ms, kept, strict=True)
    ]
    columns["uid"] += [r.uid for r in kept]
    columns["report_id"] += [r.report_id for r in kept]
    columns["methodology"] += [r.methodology for r in kept]
    columns["unit"] += [next(iter(r.activity), "") for r in kept]
    columns["activity"] += [next(iter(r.activity.values()), 0) for r in kept]
    columns["source_txn"] += ["" if r.source_txn is UNSET else r.source_txn for r in kept]
    columns["region"] += ["" if r.region is UNSET else r.region for r in kept]
    columns["inputs"] += [_rare_inputs(r) for r in kept]
    columns["certifiable"] += [int(r is not _NO_REPORT and r.other_mechanism is not True) for r in kept]
    columns["tells_balance"] += [int(verdict in TELLS_BALANCE) for verdict in verdicts]
    columns["id_member"] += [
        m if v in REMEMBERS_ID else 0 for m, v in zip(reading.id_member, verdicts, strict=True)
    ]
    columns["claim_member"] += [
        m if v in TAKES_CLAIM else 0 for m, v in zip(reading.claim_member, verdicts, strict=True)
    ]
    for name in ("lots", "bytes_size", "bytes_hash", "by", "approved_by", "reason"):
        columns[name] += [_BLANK[name]] * len(rows)
    records = [*cycle.value[:-1], reading.replay.value] if reading.replay else cycle.value
    for i, verdict in enumerate(verdicts):
        if verdict in KEEPS_ID_ALONE or verdict in DEAD_LETTER:
            _name_refused(columns, first + i, reading.items[i], records[i], verdict, dedupe_key)
    command = reading.replay or reading.items[-1]  # a command is the last row of its cycle
    if not isinstance(command, Report | Refusal):
        _name_command(columns, command)


def _name_command(columns: Columns, command: Command) -> None:
    """The last row is a command's: what it says; of a replay beside what the record itself said."""
    said, inputs = command_inputs(command), columns["inputs"][-1]
    columns["kind"][-1] = int(command.row_kind)
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


def _name_refused(
    columns: Columns, at: int, item: object, value: object, verdict: int, dedupe_key: bytes
) -> None:
    """Of a record refused early only what finds it again is kept: its id, its size and a keyed hash.

    A plain hash of a short record could be enumerated. The bytes stay in the app's topic for 30 days.
    """
    if isinstance(item, Report):
        columns["report_id"][at] = item.report_id
        columns["uid"][at] = "" if verdict in KEEPS_NO_UID else item.uid
    if verdict in DEAD_LETTER and isinstance(value, bytes):
        columns["bytes_size"][at] = len(value)
        columns["bytes_hash"][at] = bytes_hash(value, dedupe_key)


_BLANK = {"lots": [], "bytes_size": 0, "bytes_hash": "", "by": "", "approved_by": "", "reason": ""}
_NO_REPORT = Report(1, "report", "", "", "", EPOCH, {})
_RARE = ("scene_id", "subject_type", "evidence_tier", "other_mechanism", "claimed_reduction_g")


def _rare_inputs(r: Report) -> str:
    """The inputs that few reports carry, as JSON; evidence as its hash."""
    if (
        r.scene_id is UNSET
        and r.subject_type is UNSET
        and r.evidence is UNSET
        and r.ended_at is UNSET
        and r.claimed_reduction_g is UNSET
        and r.other_mechanism is UNSET
        and r.evidence_tier is UNSET
    ):
        return ""
    inputs = {name: value for name in _RARE if (value := getattr(r, name)) is not UNSET}
    if r.ended_at is not UNSET:
        inputs["ended_ms"] = to_ms(r.ended_at)
    if r.evidence is not UNSET:
        inputs["evidence_sha256"] = hashlib.sha256(bytes(r.evidence)).hexdigest()
    return orjson.dumps(inputs).decode()
