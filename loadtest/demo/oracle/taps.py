"""The behaviours that taps prove, and their distances."""

import csv
import gzip
import io
from datetime import datetime
from pathlib import Path

BUS_KM = {100: 3, 150: 4, 200: 5, 250: 6, 300: 8, 400: 10, 500: 12, 600: 15, 700: 18, 800: 20, 1000: 25}


def read_behaviours(path):
    """{line: (card number, local time, distance in m)} of every behaviour that an app can report."""
    raw = Path(path).read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig", "replace")
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip() for name in next(reader)]
    taps = []
    for cells in filter(None, reader):
        row = {n: "" if c.strip() == "-" else c.strip() for n, c in zip(header, cells, strict=False)}
        is_known = row["deal_type"] in ("地铁入站", "地铁出站", "巴士")
        if is_known and "2018-08-26" <= row["deal_date"][:10] <= "2018-09-01":
            taps.append((row["deal_date"], reader.line_num, row))
    behaviours, no_trips = {}, trips_within_one_station(taps)
    for at, line, row in taps:
        distance_m = distance_of(row["deal_type"], row["deal_value"])
        if distance_m and line not in no_trips:
            behaviours[line] = (row["card_no"], datetime.fromisoformat(f"{at}+08:00"), distance_m)
    return behaviours


def trips_within_one_station(taps):
    """The lines of metro exits whose trip began at the same station."""
    station_of, lines, ended = {}, set(), {}
    for at, line, row in sorted(taps, key=lambda t: t[:2]):
        card = row["card_no"]
        if row["deal_type"] == "地铁入站":
            station_of[card] = row.get("station", "")
        elif row["deal_type"] == "地铁出站":
            this_exit = (at, row["equ_no"])
            is_same = ended.get(card, [None])[0] == this_exit  # the same tap twice ends the same trip
            entered = ended[card][1] if is_same else station_of.pop(card, "")
            ended[card] = (this_exit, entered)
            if entered and entered == row.get("station", ""):
                lines.add(line)
    return lines


def distance_of(kind, fare):
    """The distance in m that a full fare in fen proves; 0 where there is none."""
    fen = int(fare or 0)
    if kind == "巴士":  # one distance for each fare class
        return 1000 * max([km for from_fen, km in BUS_KM.items() if fen >= from_fen], default=0)
    if kind == "地铁入站" or fen % 100 or fen < 200:
        return 0
    # 2 yuan up to 4 km, then a yuan per 4 km up to 12 km, per 6 km up to 24 km, per 8 km beyond.
    lower_end_m, end_m = 1_000, 4_000
    for _ in range(fen // 100 - 2):
        lower_end_m = end_m
        end_m += 4_000 if end_m < 12_000 else 6_000 if end_m < 24_000 else 8_000
    return lower_end_m
