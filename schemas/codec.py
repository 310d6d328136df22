"""Bytes to a report: strict, and total over arbitrary bytes. The only authority on what is a report.

schemas/reports.py reads many at a time, and comes here with whatever looks unusual.
"""

import datetime as dt
import re
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from schemas.fields import types_in
from schemas.limits import BEHAVIOUR_MS_MAX, EVIDENCE_BYTES_MAX, FORMAT_MAX, RECORD_BYTES_MAX
from schemas.personal_data import holds_personal_data, json_holds_personal_data
from schemas.refusal import Refusal, duplicate_name, malformed, refusal_of, too_nested
from schemas.report import FIELDS, PATTERNS, REQUIRED, Instant, Report, date_of_day, shanghai_day, to_ms
from schemas.verdicts import Verdict

DECODER = msgspec.json.Decoder(Report)
_whole = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
_texts = re.compile(
    " ".join([pattern if name in REQUIRED else f"(?:{pattern})?" for name, pattern in PATTERNS.items()])
)
QUOTES = sum(FIELDS[name].quotes for name in REQUIRED)  # of a record with nothing but the required fields
_SEARCHED = [name for name, field in FIELDS.items() if field.searched]
_INSTANTS = [field.name for field in msgspec.structs.fields(Report) if dt.datetime in types_in(field.type)]
# msgspec rounds a time to microseconds; this is what can so come to the next millisecond, even day.
ROUNDED_UP = re.compile(rb"\.[0-9]{3}999[0-9]")
_beyond_microseconds = re.compile(r"(\.[0-9]{6})[0-9]+")
# The times of a report as they were written.
_times: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
    msgspec.defstruct("_Times", [(name, str | UnsetType, UNSET) for name in _INSTANTS])
)


def _has_name_twice(r: Report, value: bytes) -> bool:
    """Whether the JSON that a report was read from has more quotes than its names and texts, two each: the
    texts have none in them, as their patterns say, so some name stands there twice."""
    quotes = sum(field.quotes for name, field in FIELDS.items() if getattr(r, name) is not UNSET)
    if r.evidence is not UNSET:
        quotes += bytes(r.evidence).count(b'"')
    return value.count(b'"') != quotes


_days: dict[int, str] = {}


def compact_day(day: int) -> str:
    """A day number as YYYYMMDD, with which a report's id begins; '' beyond the calendar."""
    text = _days.get(day)
    if text is None:
        if len(_days) > 1_000:
            _days.clear()
        text = _days[day] = date_of_day(day).strftime("%Y%m%d") if -719_162 < day < 2_932_896 else ""
    return text


def read_report(value: bytes, in_force: int = FORMAT_MAX) -> Report | Refusal:
    """The closer look at one value: what exactly is wrong with it, if anything.

    `in_force`: the format that says which kinds of record there are; all of them, if it is not told.
    """
    if len(value) > RECORD_BYTES_MAX:
        return Refusal(Verdict.TOO_LARGE, f"record: {len(value)} bytes, at most {RECORD_BYTES_MAX}")
    try:
        report = DECODER.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return refusal_of(value, error, in_force)
    return _closer(report, value)


def _closer(report: Report, value: bytes) -> Report | Refusal:
    """What a value is that was read as this report."""
    if report.evidence is not UNSET and (nested := too_nested(value)):
        return nested
    if b"\\" in value or (b"." in value and ROUNDED_UP.search(value)):
        times = _times.decode(value)
        for name in _INSTANTS:
            if (written := getattr(times, name)) is not UNSET:
                setattr(report, name, _cut(written))
    if fault := _fault(report, value):
        return duplicate_name(value) or fault
    return report


def _cut(instant: str) -> dt.datetime:
    """The instant without the digits beyond its microseconds, which `to_ms` cuts in turn."""
    return msgspec.convert(_beyond_microseconds.sub(r"\1", instant), Instant)


def _fault(r: Report, value: bytes) -> Refusal | None:
    texts = [getattr(r, name) for name in PATTERNS]
    if _texts.fullmatch(" ".join(["" if text is UNSET else text for text in texts])) is None:
        return _pattern_fault(r)
    occurred_ms = to_ms(r.occurred_at)
    if r.report_id[:8] != compact_day(shanghai_day(occurred_ms)):
        return malformed(
            "report_id: must start with the Asia/Shanghai day of occurred_at;"
            " if the time was wrong, repair it under the same id, else the record needs another id"
        )
    if r.ended_at is not UNSET and not 0 <= to_ms(r.ended_at) - occurred_ms <= BEHAVIOUR_MS_MAX:
        return malformed("ended_at: must be from occurred_at to 24 hours after it")
    evidence = b"" if r.evidence is UNSET else bytes(r.evidence)
    if len(evidence) > EVIDENCE_BYTES_MAX:
        return malformed(f"evidence: {FIELDS['evidence'].rule}")
    if not _is_utf8(evidence):  # msgspec passes over an opaque value without looking into its strings
        return malformed("evidence: not UTF-8")
    if _has_name_twice(r, value):
        return malformed("record: a name stands twice")
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
    return malformed(f"{wrong}: {FIELDS[wrong].rule}")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
