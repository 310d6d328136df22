"""Transit-card taps of any slice of the data set (see loadtest/data/README.md), and the trips they make."""

import csv
import datetime as dt
import gzip
import io
import zlib
from collections import defaultdict
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

PACKAGED = Path(__file__).parents[1] / "data" / "shenzhen_taps_2018-09-01.csv.gz"
SATURDAY = dt.date(2018, 9, 1)  # the day that is replayed
# Readers without a connection hand in taps days later: the slices also hold taps of the days before.
WEEK_DAYS = 7
_COLUMNS = ("card_no", "deal_date", "deal_type", "deal_value", "equ_no")
_OPTIONAL_COLUMNS = ("company_name", "station")
_MISSING = ("", "-")
_GZIP_MAGIC = b"\x1f\x8b"


class TapsError(ValueError):
    """A file that cannot be read as taps; the message names file, line, column and rule."""


class Kind(StrEnum):
    """The data set's kinds of tap; an entry opens a trip, the other two are behaviours."""

    ENTRY = "地铁入站"
    EXIT = "地铁出站"
    BUS = "巴士"


class Tap(NamedTuple):
    """One row. Texts are '' and the fare None where the file says nothing; `at` is Shanghai local time."""

    line: int
    card_no: str
    at: dt.datetime
    kind: Kind
    fare_fen: int | None
    reader: str
    company: str
    station: str


class Taps(NamedTuple):
    """The taps of a file in its own order, and how many rows were left out and why."""

    taps: list[Tap]
    other_kinds: int
    other_weeks: int

    @property
    def rows(self) -> int:
        """All rows of the file below its header."""
        return len(self.taps) + self.other_kinds + self.other_weeks


def read_taps(path: Path) -> Taps:
    """Reads a CSV file, gzipped or plain. Raises `TapsError`."""
    taps: list[Tap] = []
    left_out = {"kind": 0, "week": 0}
    rows = _rows(path)
    header = [name.strip() for name in next(rows, (0, []))[1]]
    for name in _COLUMNS:
        if header.count(name) != 1:
            rule = "must be named once in the header" if name in header else "is not in the header"
            raise TapsError(f"{path}: line 1: column {name}: {rule}")
    index = {name: header.index(name) for name in _COLUMNS + _OPTIONAL_COLUMNS if name in header}
    for line, cells in rows:
        if not cells:
            continue
        tap = _tap(f"{path}: line {line}", line, index, cells)
        if tap is None:
            left_out["kind"] += 1
        elif not 0 <= (SATURDAY - tap.at.date()).days < WEEK_DAYS:
            left_out["week"] += 1
        else:
            taps.append(tap)
    return Taps(taps, left_out["kind"], left_out["week"])


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        raw = path.read_bytes()
        if raw.startswith(_GZIP_MAGIC):
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or f"damaged gzip file: {error}"
        raise TapsError(f"{path}: cannot be read: {reason}") from error
    # Names damaged by an encoding stay damaged; they are shown, never compared with a list.
    reader = csv.reader(io.StringIO(raw.decode("utf-8-sig", "replace"), newline=""))
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise TapsError(f"{path}: line {reader.line_num}: not CSV: {error}") from error


def _tap(where: str, line: int, index: dict[str, int], cells: list[str]) -> Tap | None:
    """The tap of a row; None for a kind that the demo does not know."""

    def cell(name: str) -> str:
        if name not in index:
            return ""
        if index[name] >= len(cells):
            raise TapsError(f"{where}: column {name}: the row has only {len(cells)} cells")
        text = cells[index[name]].strip()
        return "" if text in _MISSING else text

    def required(name: str) -> str:
        if text := cell(name):
            return text
        raise TapsError(f"{where}: column {name}: must not be missing")

    kind = required("deal_type")
    if kind not in tuple(Kind):
        return None
    fare = cell("deal_value")
    if fare and not (fare.isascii() and fare.isdecimal() and len(fare) <= 9):
        raise TapsError(f"{where}: column deal_value: must be a whole number of fen")
    try:
        at = dt.datetime.strptime(required("deal_date"), "%Y-%m-%d %H:%M:%S")
    except ValueError as error:
        if isinstance(error, TapsError):
            raise
        raise TapsError(f"{where}: column deal_date: must be a time such as 2018-09-01 08:15:00") from error
    return Tap(
        line,
        required("card_no"),
        at,
        Kind(kind),
        int(fare) if fare else None,
        cell("equ_no"),
        cell("company_name"),
        cell("station"),
    )


def entries_of_exits(taps: list[Tap]) -> dict[int, Tap]:
    """The entry that opened the trip, by the line of the metro exit that ended it, where the file has it."""
    by_card: dict[str, list[Tap]] = defaultdict(list)
    for tap in taps:
        if tap.kind != Kind.BUS:
            by_card[tap.card_no].append(tap)
    entries: dict[int, Tap] = {}
    for card_taps in by_card.values():
        opened: Tap | None = None
        last_exit: Tap | None = None
        for tap in sorted(card_taps, key=lambda t: (t.at, t.line)):
            if tap.kind == Kind.ENTRY:
                opened = tap
            elif last_exit is not None and _is_same_tap(tap, last_exit):
                if last_exit.line in entries:
                    entries[tap.line] = entries[last_exit.line]
            else:
                if opened is not None:
                    entries[tap.line] = opened
                opened, last_exit = None, tap
    return entries


def _is_same_tap(one: Tap, other: Tap) -> bool:
    return one.at == other.at and one.reader == other.reader
