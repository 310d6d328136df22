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

# A bad record costs some 60 others a second parse (at 0.3 us); larger chunks gain nothing.
CHUNK_RECORDS = 32
# Kinds that no app may ever send: points are neither moved nor cancelled by apps (管理办法 Art. 22-24).
FORBIDDEN_KINDS = frozenset(
    {"transfer", "trade", "bonus", "credit", "debit", "expiry", "write_off", "clock", "tick", "app"}
)

_decoder = msgspec.json.Decoder(Report)
FIELDS = Report.__struct_fields__
_whole = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
# The fields that most reports carry, of a whole chunk, in one match; the rarer ones send it to the slow path.
_CHECKED_TOGETHER = "{uid} {report_id} {methodology} (?:{source_txn})? (?:{region})?\n"
_chunk = re.compile(f"(?:{_CHECKED_TOGETHER.format(**PATTERNS)})*+")
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
        _read_chunk(values[start : start + CHUNK_RECORDS], items, occurred_ms)
    return items, occurred_ms


def _read_chunk(values: list[bytes], items: list[Report | Refusal], occurred_ms: list[int]) -> None:
    """Appends what `values` are; halves them while they cannot be parsed together, down to the bad ones."""
    reports = _parse_together(values)
    if reports is None and len(values) > 1:
        half = len(values) // 2
        _read_chunk(values[:half], items, occurred_ms)
        _read_chunk(values[half:], items, occurred_ms)
        return
    times = [(r.occurred_at - EPOCH) // MILLISECOND for r in reports or ()]
    if reports and _are_plain(reports, times):
        items += [read_report(v) if _has_rare(r) else r for v, r in zip(values, reports, strict=True)]
        occurred_ms += [
            t if i.__class__ is Report else 0 for i, t in zip(items[-len(times) :], times, strict=True)
        ]
    else:
        found = [read_report(value) for value in values]
        items += found
        occurred_ms += [to_ms(i.occurred_at) if i.__class__ is Report else 0 for i in found]


def _parse_together(values: list[bytes]) -> list[Report] | None:
    """All reports in one parse, or None if any value is none.

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
    return reports if len(reports) == len(values) else None


def _are_plain(reports: list[Report], times_ms: list[int]) -> bool:
    """Whether nothing is wrong with any of the fields that most reports carry."""
    names = [
        f"{r.report_id} {r.methodology} {'' if r.source_txn is UNSET else r.source_txn}" for r in reports
    ]
    text = "".join(
        [
            f"{r.uid} {name} {'' if r.region is UNSET else r.region}\n"
            for r, name in zip(reports, names, strict=True)
        ]
    )
    # One line a report: a name with a newline in it could pass for two lines that both look right.
    if text.count("\n") != len(reports) or _chunk.fullmatch(text) is None:
        return False
    if any(r.report_id[:8] != _compact_day(ms) for r, ms in zip(reports, times_ms, strict=True)):
        return False
    return not holds_personal_data(" ".join(names).split())


def _has_rare(r: Report) -> bool:
    """Whether a report has a text of the rarer fields, which need a closer look."""
    return (
        r.scene_id is not UNSET
        or r.subject_type is not UNSET
        or r.evidence is not UNSET
        or r.evidence_tier is not UNSET
    )


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
        field, rule = ("kind", "no such kind") if field == "kind" else ("activity", "unknown unit")
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
