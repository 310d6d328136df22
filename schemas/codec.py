"""Bytes to reports: strict, total over arbitrary bytes, and many records at a time.

`read_reports` never raises on data: what is not a report comes back as a `Refusal`.
"""

import datetime as dt
import re

import msgspec
from msgspec import UNSET, Struct, UnsetType

from schemas.limits import BEHAVIOUR_MS_MAX, EVIDENCE_BYTES_MAX, RECORD_BYTES_MAX
from schemas.personal_data import (
    holds_personal_data,
    json_holds_personal_data,
    may_hold_personal_data,
)
from schemas.refusal import RULES, Refusal, duplicate_name, malformed, refusal_of, too_nested
from schemas.report import (
    DAY_MS,
    EPOCH,
    MILLISECOND,
    PATTERNS,
    SHANGHAI_OFFSET_MS,
    Instant,
    Report,
    date_of_day,
    to_ms,
)
from schemas.verdicts import Verdict

# A bad record costs some 60 others a second parse (at 0.3 us); larger chunks gain nothing.
CHUNK_RECORDS = 32
_decoder = msgspec.json.Decoder(Report)
_whole = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
# The fields that most reports carry, of a whole chunk, in one match; the rarer ones send it to the slow path.
_CHECKED_TOGETHER = "{uid} {report_id}\n{methodology}\n(?:{source_txn})? (?:{region})?\n"
_chunk = re.compile(f"(?:{_CHECKED_TOGETHER.format(**PATTERNS)})*+")
_TEXTS = (
    "{uid} {report_id} {methodology} (?:{source_txn})? (?:{region})? (?:{scene_id})? (?:{evidence_tier})? "
)
_texts = re.compile((_TEXTS + "(?:{subject_type})?").format(**PATTERNS))
# Quotes in a record of nothing but the required fields: 8 names and 5 texts.
_QUOTES, _QUOTES_OF_TEXT, _QUOTES_OF_NAME = 26, 4, 2
_NO_TIME, _BEHAVIOUR_MAX = dt.timedelta(0), BEHAVIOUR_MS_MAX * MILLISECOND
# msgspec rounds a time to microseconds; this is what can so come to the next millisecond, even day.
_rounded_up = re.compile(rb"\.[0-9]{3}999[0-9]")
_beyond_microseconds = re.compile(r"(\.[0-9]{6})[0-9]+")
_SEARCHED = ("report_id", "methodology", "source_txn", "scene_id", "evidence_tier")


class _Times(Struct):
    """The times of a report as they were written."""

    occurred_at: str
    ended_at: str | UnsetType = UNSET


_times = msgspec.json.Decoder(_Times)


def read_reports(values: list[bytes]) -> tuple[list[Report | Refusal], list[int]]:
    """One `Report` or `Refusal` for each value, in order; and the reports' `occurred_at` in ms (else 0)."""
    items: list[Report | Refusal] = []
    occurred_ms: list[int] = []
    for start in range(0, len(values), CHUNK_RECORDS):
        _read_chunk(values[start : start + CHUNK_RECORDS], items, occurred_ms)
    return items, occurred_ms


def _read_chunk(values: list[bytes], items: list[Report | Refusal], occurred_ms: list[int]) -> None:
    """Appends what `values` are; halves them while they cannot be parsed together, down to the bad ones."""
    joined = b"\n".join(values)
    reports = _parse_together(values, joined)
    if reports is None and len(values) > 1:
        half = len(values) // 2
        _read_chunk(values[:half], items, occurred_ms)
        _read_chunk(values[half:], items, occurred_ms)
        return
    times = [(r.occurred_at - EPOCH) // MILLISECOND for r in reports or ()]
    if not reports or not _are_plain(reports, times):
        found = [read_report(value) for value in values]
    elif _are_usual(joined, reports):
        items += reports
        occurred_ms += times
        return
    else:
        found = [_closer(r, v) for r, v in zip(reports, values, strict=True)]
    items += found
    occurred_ms += [to_ms(i.occurred_at) if i.__class__ is Report else 0 for i in found]


def _parse_together(values: list[bytes], joined: bytes) -> list[Report] | None:
    """All reports in one parse, or None if any value is none.

    Joining by newline is safe under two guards: each value starts with '{' and ends with '}', and there are
    as many results as values. At a join the parser sees `}` newline `{`, which is legal at top level only, so
    each value yields at least one result, and the count forces exactly one.
    """
    if max(map(len, values)) > RECORD_BYTES_MAX or any(v[:1] != b"{" or v[-1:] != b"}" for v in values):
        return None
    try:
        reports = _decoder.decode_lines(joined)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return reports if len(reports) == len(values) else None


def _are_plain(reports: list[Report], times_ms: list[int]) -> bool:
    """Whether nothing is wrong with any of the texts that most reports carry."""
    names = [
        f"{r.report_id}\n{r.methodology}\n{'' if r.source_txn is UNSET else r.source_txn}" for r in reports
    ]
    text = "".join(
        [
            f"{r.uid} {name} {'' if r.region is UNSET else r.region}\n"
            for r, name in zip(reports, names, strict=True)
        ]
    )
    # Three lines a report: a name with a newline in it could pass for two that both look right.
    if text.count("\n") != 3 * len(reports) or _chunk.fullmatch(text) is None:
        return False
    if any(r.report_id[:8] != _compact_day(ms) for r, ms in zip(reports, times_ms, strict=True)):
        return False
    return not may_hold_personal_data("\n".join(names))


def _are_usual(joined: bytes, reports: list[Report]) -> bool:
    """Whether no plain report carries anything that needs a closer look."""
    rare = [
        r
        for r in reports
        if r.evidence is not UNSET
        or r.scene_id is not UNSET
        or r.evidence_tier is not UNSET
        or r.subject_type is not UNSET
    ]
    if rare or b"\\" in joined or (b"." in joined and _rounded_up.search(joined)):
        return False
    texts = len([r for r in reports if r.source_txn is not UNSET])
    texts += len([r for r in reports if r.region is not UNSET])
    names = len([r for r in reports if r.claimed_reduction_g is not UNSET])
    names += len([r for r in reports if r.other_mechanism is not UNSET])
    if lasted := [r.ended_at - r.occurred_at for r in reports if r.ended_at is not UNSET]:
        if min(lasted) < _NO_TIME or max(lasted) > _BEHAVIOUR_MAX:
            return False
        texts += len(lasted)
    quotes = _QUOTES * len(reports) + _QUOTES_OF_TEXT * texts + _QUOTES_OF_NAME * names
    return joined.count(b'"') == quotes


def _has_name_twice(r: Report, value: bytes) -> bool:
    """Whether the JSON that a report was read from has more quotes than its names and texts, two each: the
    texts have none in them, as their patterns say, so some name stands there twice."""
    texts = (r.ended_at is not UNSET) + (r.source_txn is not UNSET) + (r.region is not UNSET)
    texts += (r.scene_id is not UNSET) + (r.evidence_tier is not UNSET) + (r.subject_type is not UNSET)
    names = (r.other_mechanism is not UNSET) + (r.claimed_reduction_g is not UNSET)
    quotes = _QUOTES + _QUOTES_OF_TEXT * texts + _QUOTES_OF_NAME * names
    if r.evidence is not UNSET:
        quotes += _QUOTES_OF_NAME + bytes(r.evidence).count(b'"')
    return value.count(b'"') != quotes


_days: dict[int, str] = {}


def _compact_day(ms: int) -> str:
    day = (ms + SHANGHAI_OFFSET_MS) // DAY_MS
    text = _days.get(day)
    if text is None:
        if len(_days) > 1_000:
            _days.clear()
        text = _days[day] = date_of_day(day).strftime("%Y%m%d") if -719_162 < day < 2_932_896 else ""
    return text


def read_report(value: bytes) -> Report | Refusal:
    """The closer look at one value: what exactly is wrong with it, if anything."""
    if len(value) > RECORD_BYTES_MAX:
        return Refusal(Verdict.TOO_LARGE, f"record: {len(value)} bytes, at most {RECORD_BYTES_MAX}")
    try:
        report = _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return refusal_of(value, error)
    return _closer(report, value)


def _closer(report: Report, value: bytes) -> Report | Refusal:
    """What a value is that was read as this report."""
    if report.evidence is not UNSET and (nested := too_nested(value)):
        return nested
    if b"\\" in value or (b"." in value and _rounded_up.search(value)):
        times = _times.decode(value)
        report.occurred_at = _cut(times.occurred_at)
        report.ended_at = UNSET if times.ended_at is UNSET else _cut(times.ended_at)
    fault = _fault(report, value)
    if fault and fault.verdict is Verdict.MALFORMED:
        return duplicate_name(value) or fault
    return fault or report


def _cut(instant: str) -> dt.datetime:
    """The instant without the digits beyond its microseconds, which `to_ms` cuts in turn."""
    return msgspec.convert(_beyond_microseconds.sub(r"\1", instant), Instant)


def _fault(r: Report, value: bytes) -> Refusal | None:
    texts = (r.uid, r.report_id, r.methodology, r.source_txn, r.region, r.scene_id, r.evidence_tier)
    line = " ".join(["" if text is UNSET else text for text in (*texts, r.subject_type)])
    if _texts.fullmatch(line) is None:
        return _pattern_fault(r)
    if r.report_id[:8] != _compact_day(occurred_ms := to_ms(r.occurred_at)):
        return malformed(
            "report_id: must start with the Asia/Shanghai day of occurred_at;"
            " if the time was wrong, repair it under the same id, else the record needs another id"
        )
    if r.ended_at is not UNSET and not 0 <= to_ms(r.ended_at) - occurred_ms <= BEHAVIOUR_MS_MAX:
        return malformed("ended_at: must be from occurred_at to 24 hours after it")
    evidence = b"" if r.evidence is UNSET else bytes(r.evidence)
    if len(evidence) > EVIDENCE_BYTES_MAX:
        return malformed(f"evidence: {RULES['evidence']}")
    if not _is_utf8(evidence):  # msgspec passes over an opaque value without looking into its strings
        return malformed("evidence: not UTF-8")
    if _has_name_twice(r, value):
        return malformed("record: a name stands twice")
    # The uid is a pseudonym of hexadecimal digits, the region a division code: neither can be looked into.
    names = {name: text for name in _SEARCHED if (text := getattr(r, name)) is not UNSET}
    if holds_personal_data(names.values()):
        name = next(name for name, text in names.items() if holds_personal_data([text]))
        return Refusal(Verdict.PERSONAL_DATA, f"{name}: holds an ID or phone number")
    if json_holds_personal_data(evidence):
        return Refusal(Verdict.PERSONAL_DATA, "evidence: holds an ID or phone number")
    return None


def _pattern_fault(r: Report) -> Refusal:
    texts = {name: getattr(r, name) for name in PATTERNS}
    wrong = next(n for n, text in texts.items() if text is not UNSET and not _whole[n].fullmatch(text))
    return malformed(f"{wrong}: {RULES[wrong]}")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
