"""Bytes to columns of reports: many values at a time, total over arbitrary bytes.

What looks like most reports do is read by columns; what looks unusual in any way takes `read_report`, the
only authority on what is a report, and why not. The fast way gives what it gives, or nothing.
"""

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, get_type_hints

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import UNSET

from schemas.codec import DECODER, QUOTES, ROUNDED_UP, compact_day, read_report
from schemas.fields import Keep
from schemas.limits import BEHAVIOUR_MS_MAX, FORMAT_MAX, RECORD_BYTES_MAX
from schemas.personal_data import may_hold_personal_data
from schemas.refusal import Refusal
from schemas.report import (
    DAY_MS,
    FIELDS,
    MILLISECOND,
    PATTERNS,
    REQUIRED,
    SHANGHAI_OFFSET_MS,
    Report,
    to_ms,
)

# Values that are looked at in one go; where one is unusual they are looked at again, by halves. With one in a
# hundred, 64 take a quarter longer; fewer than 16 gain nothing.
_CHUNK_VALUES = 16
# Instants of which Arrow and Python say the same, to the millisecond, as finer times are cut. None of them is
# refused: 29 February, of which not every year has one, is unusual.
_INSTANT = (
    r"(?:19|20)[0-9]{2}-"
    r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{3})?(?:Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])"
)
# As many lines a value: a name with a newline in it could pass for two that both look right.
_LINES = 4
_texts = re.compile(
    "(?:{report_id}\n{methodology}\n(?:{source_txn})?\n{uid} {instant} (?:{region})?\n)*+".format(
        **PATTERNS, instant=_INSTANT
    )
)
_OFTEN = ("source_txn", "region")
_HINTS = get_type_hints(Report, include_extras=True)
_usual: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
    msgspec.defstruct(
        "_Usual",
        [(name, str if name == "occurred_at" else _HINTS[name]) for name in REQUIRED]
        + [(name, _HINTS[name], "") for name in _OFTEN],
        forbid_unknown_fields=True,
        gc=False,
    )
)
_NO_TIME, _BEHAVIOUR_MAX = dt.timedelta(0), BEHAVIOUR_MS_MAX * MILLISECOND
_NOT_USUAL = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
RARE = tuple(name for name in FIELDS if name not in (*REQUIRED, *_OFTEN))
# What may hold anything is looked at by itself.
_LOOKED_AT = tuple(name for name in RARE if FIELDS[name].pattern or FIELDS[name].keep is Keep.HASH)


class Reports(NamedTuple):
    """Parallel lists, one entry a value; of what is no report the entries are blank.

    `refused`: why a value is none. `rare`: the whole report, where it has one of the rarer fields.
    """

    refused: dict[int, Refusal]
    rare: dict[int, Report]
    uid: list[str]
    report_id: list[str]
    methodology: list[str]
    occurred_ms: list[int]
    unit: list[str]
    activity: list[int]
    source_txn: list[str]
    region: list[str]

    def without(self, refused: dict[int, Refusal]) -> "Reports":
        """As if these values were no reports, for these reasons."""
        columns: Any = [list(column) for column in self[2:]]
        for i in refused:
            for column in columns:
                column[i] = type(column[i])()  # '' or 0
        rare = {i: report for i, report in self.rare.items() if i not in refused}
        return Reports(self.refused | refused, rare, *columns)


# uid, report_id, methodology, occurred_at, unit, activity, source_txn, region; quotes of its rarer fields
_Row = tuple[str, str, str, str, str, int, str, str, int]
_BLANK: _Row = ("", "", "", "", "", 0, "", "", 0)
_TIME, _QUOTES_MORE = 3, 8


def read_reports(values: list[bytes], in_force: int = FORMAT_MAX) -> Reports:
    """Never raises on data: what is no report is refused. `in_force`: see `read_report`."""
    rows, times_ms = [_BLANK] * len(values), [0] * len(values)
    refused: dict[int, Refusal] = {}
    rare: dict[int, Report] = {}
    for place, row, ms in _plain_rows(values, rare):
        rows[place], times_ms[place] = row, ms
    for place in [place for place, row in enumerate(rows) if row is _BLANK]:
        rare.pop(place, None)
        item = read_report(values[place], in_force)
        if isinstance(item, Refusal):
            refused[place] = item
            continue
        rows[place], times_ms[place] = _row_of(item), to_ms(item.occurred_at)
        if any(getattr(item, name) is not UNSET for name in RARE):
            rare[place] = item
    columns: list[Any] = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in _BLANK]
    columns[_TIME] = times_ms
    return Reports(refused, rare, *columns[:_QUOTES_MORE])


def _plain_rows(values: list[bytes], rare: dict[int, Report]) -> Iterator[tuple[int, _Row, int]]:
    """The rows of values that are reports beyond any doubt, with their places and times in ms."""
    places, rows = _usual_rows(values, rare)
    plain: list[int] = []
    for start in range(0, len(rows), _CHUNK_VALUES):
        chunk = range(start, min(start + _CHUNK_VALUES, len(rows)))
        plain += _sifted(values, places, rows, chunk)
    instants = pa.array([rows[at][_TIME] for at in plain], pa.string())
    times_ms = instants.cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).to_numpy()
    for at, ms, day in zip(plain, times_ms.tolist(), _compact_days(times_ms), strict=True):
        if rows[at][1][:8] == day:
            yield places[at], rows[at], ms


def _usual_rows(values: list[bytes], rare: dict[int, Report]) -> tuple[list[int], list[_Row]]:
    """Places and rows of those that have the fields of most; `rare`: with another that is soon looked at.

    They may be unusual yet.
    """
    decode = _usual.decode
    places: list[int] = []
    rows: list[_Row] = []
    for place, value in enumerate(values):
        if len(value) > RECORD_BYTES_MAX:
            continue
        try:
            r = decode(value)
        except _NOT_USUAL:
            if report := _seldom(value):
                rare[place] = report
                rows.append(_row_of(report))
                places.append(place)
            continue
        ((unit, amount),) = r.activity.items()
        texts = (r.uid, r.report_id, r.methodology, r.occurred_at, unit, amount, r.source_txn, r.region)
        rows.append((*texts, 0))
        places.append(place)
    return places, rows


def _seldom(value: bytes) -> Report | None:
    """A report with rarer fields, of which none has to be searched."""
    try:
        r = DECODER.decode(value)
    except _NOT_USUAL:
        return None
    lasted = _NO_TIME if r.ended_at is UNSET else r.ended_at - r.occurred_at
    if any(getattr(r, name) is not UNSET for name in _LOOKED_AT) or not _NO_TIME <= lasted <= _BEHAVIOUR_MAX:
        return None
    return None if b"." in value and ROUNDED_UP.search(value) else r


def _sifted(values: list[bytes], places: list[int], rows: list[_Row], chunk: range) -> list[int]:
    """Those rows of the chunk of which every text is as it must be."""
    if _are_plain([values[places[at]] for at in chunk], rows[chunk.start : chunk.stop]):
        return list(chunk)
    if len(chunk) == 1:
        return []
    half = len(chunk) // 2
    return _sifted(values, places, rows, chunk[:half]) + _sifted(values, places, rows, chunk[half:])


def _are_plain(values: list[bytes], rows: list[_Row]) -> bool:
    """Whether no text of any needs a closer look."""
    joined = b"\n".join(values)
    uids, ids, methodologies, instants, _, _, txns, regions, quotes_more = zip(*rows, strict=True)
    # The texts have no quote in them, as their patterns say: with more quotes, a name stands there twice.
    quotes = QUOTES * len(rows) + sum(quotes_more)
    for name, column in zip(_OFTEN, (txns, regions), strict=True):
        quotes += FIELDS[name].quotes * (len(rows) - column.count(""))
    if joined.count(b'"') != quotes or b"\\" in joined:
        return False
    names = [f"{i}\n{m}\n{t}" for i, m, t in zip(ids, methodologies, txns, strict=True)]
    text = "".join(
        [f"{n}\n{u} {at} {r}\n" for n, u, at, r in zip(names, uids, instants, regions, strict=True)]
    )
    if text.count("\n") != _LINES * len(rows) or _texts.fullmatch(text) is None:
        return False
    return not may_hold_personal_data("\n".join(names))


def _compact_days(times_ms: np.ndarray) -> list[str]:
    days, which = np.unique((times_ms + SHANGHAI_OFFSET_MS) // DAY_MS, return_inverse=True)
    texts = [compact_day(day) for day in days.tolist()]
    return [texts[d] for d in which.tolist()]


def _row_of(r: Report) -> _Row:
    ((unit, amount),) = r.activity.items()
    source_txn = "" if r.source_txn is UNSET else r.source_txn
    region = "" if r.region is UNSET else r.region
    more = sum(FIELDS[name].quotes for name in RARE if getattr(r, name) is not UNSET)
    instant = r.occurred_at.isoformat(timespec="milliseconds")
    return (r.uid, r.report_id, r.methodology, instant, unit, amount, source_txn, region, more)
