"""Bytes to reports: strict, total over arbitrary bytes, and many records at a time.

`read_reports` never raises on data: what is not a report comes back as a `Refusal`.
"""

import difflib
import hashlib
import re
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from schemas.limits import EVIDENCE_BYTES_MAX, RECORD_BYTES_MAX
from schemas.personal_data import holds_personal_data
from schemas.report import (
    EPOCH,
    MILLISECOND,
    PATTERNS,
    VERSION,
    Report,
    date_of_day,
    shanghai_day,
    to_ms,
)
from schemas.verdicts import Verdict

# One bad record sends its chunk to the slow path (0.9 us more a record); 3 % bad records leave 40 % of
# chunks of 32 fast, and larger chunks gain nothing.
CHUNK_RECORDS = 32
# Kinds that no app may ever send: points are neither moved nor cancelled by apps (管理办法 Art. 22-24).
FORBIDDEN_KINDS = frozenset(
    {"transfer", "trade", "bonus", "credit", "debit", "expiry", "write_off", "clock", "tick"}
)

_decoder = msgspec.json.Decoder(Report)
FIELDS = ("kind", *Report.__struct_fields__)
_whole = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
# The fields that most reports carry, of a whole chunk, in one match; the rarer ones send it to the slow path.
_CHECKED_TOGETHER = "{uid} {report_id} {methodology} (?:{source_txn})? (?:{region})?\n"
_chunk = re.compile(f"(?:{_CHECKED_TOGETHER.format(**PATTERNS)})*+")
_many_digits = re.compile("[0-9]{11}")  # no phone or ID number has fewer in a row
# Counted, because where Python's recursion limit strikes depends on the caller's own depth, and the same
# bytes must get the same verdict in every run.
NESTED_MAX = 256


class Refusal(NamedTuple):
    """Why a record is no report: a verdict, and the field and rule that it broke (never a value)."""

    verdict: Verdict
    detail: str


def read_reports(values: list[bytes]) -> tuple[list[Report | Refusal], list[int]]:
    """One `Report` or `Refusal` for each value, in order; and the reports' `occurred_at` in ms (else 0)."""
    items: list[Report | Refusal] = []
    occurred_ms: list[int] = []
    for start in range(0, len(values), CHUNK_RECORDS):
        chunk = values[start : start + CHUNK_RECORDS]
        reports = _read_chunk(chunk)
        times = reports and [(r.occurred_at - EPOCH) // MILLISECOND for r in reports]
        if not reports or any(
            r.report_id[:8] != _compact_day(ms) for r, ms in zip(reports, times, strict=True)
        ):
            reports = [read_report(value) for value in chunk]
            times = [to_ms(r.occurred_at) if r.__class__ is Report else 0 for r in reports]
        items += reports
        occurred_ms += times
    return items, occurred_ms


def _read_chunk(values: list[bytes]) -> list[Report] | None:
    """All of a chunk in one parse, or None where any record needs a closer look.

    Joining by newline is safe under two guards: each value starts with '{' and ends with '}', and there are
    as many results as values. At a join the parser sees `}` newline `{`, which is legal at top level only, so
    each value yields at least one result, and the count forces exactly one.
    """
    if max(map(len, values)) > RECORD_BYTES_MAX or any(v[:1] != b"{" or v[-1:] != b"}" for v in values):
        return None
    try:
        reports = _decoder.decode_lines(b"\n".join(values))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(reports) != len(values):
        return None
    text = "".join(
        [
            f"{r.uid} {r.report_id} {r.methodology} {'' if r.source_txn is UNSET else r.source_txn}"
            f" {'' if r.region is UNSET else r.region}\n"
            for r in reports
        ]
    )
    rare = any(
        r.scene_id is not UNSET
        or r.subject_type is not UNSET
        or r.evidence is not UNSET
        or r.evidence_tier is not UNSET
        for r in reports
    )
    # One line a report: a name with a newline in it could pass for two lines that both look right.
    one_line_each = text.count("\n") == len(reports)
    if rare or not one_line_each or _chunk.fullmatch(text) is None or _many_digits_in_names(reports):
        return None
    return reports


def _many_digits_in_names(reports: list[Report]) -> bool:
    names = " ".join(
        [f"{r.report_id} {r.methodology} {'' if r.source_txn is UNSET else r.source_txn}" for r in reports]
    )
    return _many_digits.search(names) is not None


_days: dict[int, str] = {}


def _compact_day(ms: int) -> str:
    day = shanghai_day(ms)
    text = _days.get(day)
    if text is None:
        if len(_days) > 1_000:
            _days.clear()
        text = _days[day] = date_of_day(day).strftime("%Y%m%d") if -719_162 < day < 2_932_896 else ""
    return text


def read_report(value: bytes) -> Report | Refusal:
    """The closer look at one value: what exactly is wrong with it, if anything."""
    if len(value) > RECORD_BYTES_MAX:
        digest = hashlib.sha256(value).hexdigest()
        return Refusal(
            Verdict.TOO_LARGE, f"record: {len(value)} bytes, at most {RECORD_BYTES_MAX}; sha256 {digest}"
        )
    report, error = None, None
    try:
        report = _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as caught:
        error = caught
    if (error or report.evidence is not UNSET) and value.count(b"{") + value.count(b"[") > NESTED_MAX:
        return Refusal(Verdict.MALFORMED, f"record: at most {NESTED_MAX} objects and arrays")
    if isinstance(error, msgspec.ValidationError):
        return _refusal(value, str(error))
    if isinstance(error, msgspec.DecodeError):
        return Refusal(Verdict.MALFORMED, f"record: not JSON: {error}")
    if error:
        return Refusal(Verdict.MALFORMED, "record: not UTF-8")
    return _fault(report) or report


def _refusal(value: bytes, message: str) -> Refusal:
    """Names the verdict of a record that may be JSON, but is no report."""
    try:
        envelope = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Refusal(Verdict.MALFORMED, "record: not JSON")
    if isinstance(envelope, dict):
        version, kind = envelope.get("version"), envelope.get("kind")
        if type(version) is int and version != VERSION:
            return Refusal(Verdict.UNSUPPORTED_VERSION, f"version: must be {VERSION}")
        if isinstance(kind, str) and kind in FORBIDDEN_KINDS:
            if holds_personal_data([json_text(value)]):
                return Refusal(Verdict.PERSONAL_DATA, "record: holds an ID or phone number")
            return Refusal(Verdict.FORBIDDEN_OPERATION, f"kind: no app may send {kind}")
    return Refusal(Verdict.MALFORMED, _without_values(message))


def json_text(value: bytes) -> str:
    """A record's bytes as text to search; digits and quotes stay what they are, whatever the rest is."""
    return value.decode("latin-1")


def _without_values(message: str) -> str:
    """msgspec's message in our form, field first; no name and no value that the app chose is repeated."""
    rule, _, path = message.partition(" - at `$")
    field = path.rstrip("`").lstrip(".") or "record"
    if rule.startswith("Object contains unknown field"):
        near = difflib.get_close_matches(rule.split("`")[1], FIELDS, 1, cutoff=0.75)
        rule = f"unknown field; is {near[0]} meant?" if near else "unknown field"
    elif rule.startswith("Invalid enum value"):
        field, rule = "activity", "unknown unit"
    elif rule.startswith("Invalid value"):
        rule = "no such kind" if field == "kind" else "value not allowed"
    return f"{field}: {rule}"


def _fault(report: Report) -> Refusal | None:
    for name, pattern in _whole.items():
        text = getattr(report, name)
        if text is not UNSET and pattern.fullmatch(text) is None:
            return Refusal(Verdict.MALFORMED, f"{name}: must match {PATTERNS[name]}")
    if report.report_id[:8] != _compact_day(to_ms(report.occurred_at)):
        return Refusal(Verdict.MALFORMED, "report_id: must start with the Asia/Shanghai day of occurred_at")
    evidence = b"" if report.evidence is UNSET else bytes(report.evidence)
    if len(evidence) > EVIDENCE_BYTES_MAX:
        return Refusal(Verdict.MALFORMED, f"evidence: at most {EVIDENCE_BYTES_MAX} bytes")
    if not _is_utf8(evidence):  # msgspec passes over an opaque value without looking into its strings
        return Refusal(Verdict.MALFORMED, "evidence: not UTF-8")
    for name in ("report_id", "methodology", "source_txn", "scene_id", "evidence_tier"):
        text = getattr(report, name)
        if text is not UNSET and holds_personal_data([text]):
            return Refusal(Verdict.PERSONAL_DATA, f"{name}: holds an ID or phone number")
    if evidence and holds_personal_data([json_text(evidence)]):
        return Refusal(Verdict.PERSONAL_DATA, "evidence: holds an ID or phone number")
    return None


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
