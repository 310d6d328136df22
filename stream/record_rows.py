"""The rows of a block that belong to records: what the record said, beside what was decided. Pure."""

import hashlib

import orjson
from msgspec import UNSET

from schemas.codec import json_text
from schemas.command import AppCommand, encode_app
from schemas.limits import RAW_KEPT_BYTES_MAX
from schemas.personal_data import holds_personal_data
from schemas.report import EPOCH, Report, to_ms
from schemas.verdicts import KEEPS_RAW, REMEMBERS_ID, TAKES_CLAIM, Verdict
from stream.cycle_input import Cycle
from stream.read import Reading

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


def append_records(columns: dict[str, list], cycle: Cycle, reading: Reading, rows: list[tuple]) -> None:
    """The record rows, column by column."""
    for name, values in zip(DECIDED, zip(*rows, strict=True), strict=True):
        columns[name] += values
    verdicts = columns["verdict"][-len(rows) :]
    items = [item if item.__class__ is Report else _NO_REPORT for item in reading.items]
    columns["source"] += cycle.source
    columns["offset"] += cycle.offset
    columns["broker_ms"] += cycle.broker_ms
    columns["time_ms"] += cycle.time_ms
    columns["occurred_ms"] += reading.occurred_ms
    columns["uid"] += [r.uid for r in items]
    columns["report_id"] += [r.report_id for r in items]
    columns["methodology"] += [r.methodology for r in items]
    columns["unit"] += [next(iter(r.activity), "") for r in items]
    columns["activity"] += [next(iter(r.activity.values()), 0) for r in items]
    columns["source_txn"] += ["" if r.source_txn is UNSET else r.source_txn for r in items]
    columns["region"] += ["" if r.region is UNSET else r.region for r in items]
    columns["inputs"] += [_rare_inputs(r) for r in items]
    if reading.items[-1].__class__ is AppCommand:  # a command is the last row of its cycle
        columns["inputs"][-1] = encode_app(reading.items[-1].app).decode()
    columns["id_member"] += [
        m if v in REMEMBERS_ID else 0 for m, v in zip(reading.id_member, verdicts, strict=True)
    ]
    columns["claim_member"] += [
        m if v in TAKES_CLAIM else 0 for m, v in zip(reading.claim_member, verdicts, strict=True)
    ]
    _keep_refused_bytes(columns, cycle.value, verdicts)


def _keep_refused_bytes(columns: dict[str, list], values: list[bytes], verdicts: list[int]) -> None:
    """Refused bytes are kept for the dead letters, unless they hold personal data; at least their hash is."""
    first = len(columns["raw"])
    columns["raw"] += [b""] * len(values)
    for i, verdict in enumerate(verdicts):
        if verdict not in _REFUSED_BYTES:
            continue
        value = values[i]
        if verdict in KEEPS_RAW and not holds_personal_data([json_text(value)]):
            columns["raw"][first + i] = value[:RAW_KEPT_BYTES_MAX]
        if columns["raw"][first + i] != value:
            inputs = orjson.loads(columns["inputs"][first + i] or b"{}")
            inputs |= {"raw_bytes": len(value), "raw_sha256": hashlib.sha256(value).hexdigest()}
            columns["inputs"][first + i] = orjson.dumps(inputs).decode()


_REFUSED_BYTES = KEEPS_RAW | {int(Verdict.PERSONAL_DATA)}
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
