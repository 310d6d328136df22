"""What the platform must have done with what was sent: an independent calculation over taps and manifest.

    python loadtest/demo/oracle.py TAPS MANIFEST      (the result is JSON, on standard output)

Standard library only, nothing imported of the pipeline or of the rest of loadtest: its own reading of taps,
its own constants, its own rules, so that a mistake made there is not repeated here. Distances come from the
taps, never from the reports: a report that says otherwise is an error, and so is a behaviour not reported.

Apps send at the same time, so their records of one person meet in an order that nobody can foretell. It
matters in one place only: where a day's cap binds a person's reports of two apps sent on one Saturday. The
sum is the same in any order and is predicted; which of these reports gets how much follows from the order of
arrival. They are listed as `races`, with all that is needed to follow it, and counted as no verdict.
"""

import csv
import gzip
import io
import json
import re
import sys
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta, timezone
from functools import cache
from pathlib import Path

MG_PER_M = {"SZ-METRO": (468, 10), "SZ-BUS-BEV": (269, 10)}  # 46.8 and 26.9 g/km, exactly
GRANTED = {"metro": ("SZ-METRO", "metro-gate"), "bus": ("SZ-BUS-BEV", "bus-reader")}
VALID_FROM, VALID_TO = date(2022, 8, 18), date(2027, 8, 17)
CAP_MILLI, LATE_DAYS, FUTURE = 1_000_000, 9, timedelta(minutes=5)
DISTANCE_M_MAX, RECORD_BYTES_MAX = 80_000, 16_384
FORBIDDEN_KINDS = {"transfer", "trade", "bonus", "credit", "debit", "expiry", "write_off", "clock", "tick"}
SHANGHAI = timezone(timedelta(hours=8))
DATA_DAY = date(2018, 9, 1)
BUS_KM = {100: 3, 150: 4, 200: 5, 250: 6, 300: 8, 400: 10, 500: 12, 600: 15, 700: 18, 800: 20, 1000: 25}
UNITS = {"distance_m", "energy_wh", "mass_g", "steps", "items"}
REQUIRED = {"version", "kind", "uid", "report_id", "methodology", "occurred_at", "activity"}
FIELDS = {
    **dict.fromkeys(("methodology", "source_txn", "scene_id", "evidence_tier"), r"[\w.:-]{1,64}"),
    **dict.fromkeys(("occurred_at", "ended_at"), datetime),
    **dict.fromkeys(("version", "claimed_reduction_g"), int),
    "kind": "report",
    "uid": "[0-9a-f]{32}",
    "report_id": r"[0-9]{8}-[\w.:-]{1,55}",
    "activity": dict,
    "region": "[0-9]{6}",
    "subject_type": "person|household|micro_enterprise",
    "other_mechanism": bool,
    "evidence": object,
}
PHONE = re.compile(r'(?:^|["\n])(?:\+?86)?1[3-9][0-9]{9}(?:$|["\n])')
ID_NUMBER = re.compile(r"(?<![0-9])[1-9][0-9]{16}[0-9Xx](?![0-9])")


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


def fits(form, value):
    """Whether a value has a field's form: a pattern, a time with offset, an amount, amounts by unit."""
    if isinstance(form, str):
        return isinstance(value, str) and re.fullmatch(form, value, re.ASCII) is not None
    if form is datetime:
        try:
            return datetime.fromisoformat(value).tzinfo is not None
        except (ValueError, TypeError):
            return False
    if form is dict:
        return type(value) is dict and value.keys() <= UNITS and all(fits(int, v) for v in value.values())
    if form is int:
        return type(value) is int and 0 <= value <= 10**12
    return form is object or type(value) is form


def read_record(value):
    """(verdict, None) of a record that is no report, or (None, its fields)."""
    if len(value.encode()) > RECORD_BYTES_MAX:
        return "too_large", None
    try:
        record = dict(json.loads(value))
    except (ValueError, TypeError):
        return "malformed", None
    if fits(int, record.get("version")) and record["version"] != 1:
        return "unsupported_version", None
    if record.get("kind") in FORBIDDEN_KINDS:
        return "forbidden_operation", None
    is_report = REQUIRED <= record.keys() <= FIELDS.keys()
    is_report = is_report and all(fits(FIELDS[n], v) for n, v in record.items())
    if not is_report or record["report_id"][:8] != f"{shanghai(record['occurred_at']):%Y%m%d}":
        return "malformed", None
    return ("personal_data", None) if is_personal(record) else (None, record)


def is_personal(record):
    """A mobile number as a whole value, or a resident ID number (GB 11643) anywhere."""
    texts = [record.get(n, "") for n in ("report_id", "source_txn", "scene_id", "evidence_tier")]
    joined = "\n".join([*texts, json.dumps(record["evidence"])] if "evidence" in record else texts)
    for number in ID_NUMBER.findall(joined):
        total = sum(int(digit) * pow(2, 17 - i, 11) for i, digit in enumerate(number[:17]))
        if "10X98765432"[total % 11] == number[17].upper():
            return True
    return PHONE.search(joined) is not None


def shanghai(instant):
    """A time of the manifest, on Shanghai's clocks."""
    return datetime.fromisoformat(instant).astimezone(SHANGHAI)


@cache
def shard_of(uid, shards):
    """The partition that Kafka's own clients choose for a key: murmur2 of its 32 bytes."""
    h = 0x9747B28C ^ 32
    for start in range(0, 32, 4):
        k = int.from_bytes(uid[start : start + 4].encode(), "little") * 0x5BD1E995 & 0xFFFFFFFF
        h = (h * 0x5BD1E995 ^ (k ^ k >> 24) * 0x5BD1E995) & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return ((h ^ h >> 15) & 0x7FFFFFFF) % shards


class Oracle:
    """Judges the records of a manifest in the order in which each app sent them."""

    def __init__(self, behaviours):
        self.behaviours = behaviours
        self.shards, self.now, self.expires, self.saturdays, self.records = 1, None, None, [], 0
        self.card_of, self.uid_of = {}, {}
        self.reported = set()  # (line, time) of every report of a behaviour
        self.ids, self.claims = set(), set()
        self.waiting = defaultdict(list)  # credits of this Saturday by person and behaviour day
        self.used_milli = Counter()  # of the cap of a person and behaviour day
        self.lots = defaultdict(Counter)  # uid -> points in 1/1000 by last valid day
        self.verdicts, self.reduction_mg, self.points_milli, self.races = Counter(), Counter(), Counter(), []

    def read(self, entry):
        """One line of the manifest."""
        if entry["kind"] == "run":
            self.shards = entry["shards"]
        elif entry["kind"] == "clock":
            self.settle()
            self.now = shanghai(entry["at"])
            self.saturdays.append(date.fromisoformat(entry["saturday"]))
            # 24 months, to the end of the month: the day before the first of the month after.
            in_next_month = date(self.now.year + 2, self.now.month, 1) + timedelta(days=31)
            self.expires = str(in_next_month.replace(day=1) - timedelta(days=1))
        else:
            self.records += 1
            if verdict := self.judge(entry):
                self.verdicts[entry["app"], verdict] += 1

    def judge(self, entry):
        """The verdict of a record; None where it waits for the others of its day."""
        refused, record = read_record(entry["value"])
        if refused:
            return refused
        self.compare_with_tap(entry["line"], record)
        app, uid, report_id = entry["app"], record["uid"], record["report_id"]
        at = shanghai(record["occurred_at"])
        day, days_past = at.date(), (self.now.date() - at.date()).days
        if entry["partition"] not in (None, shard_of(uid, self.shards)):
            return "misrouted"
        # Ids are remembered for one day longer than reports are taken: a trip may run past midnight.
        if (app, report_id) in self.ids and days_past <= LATE_DAYS + 1:
            return "duplicate"
        if at > self.now + FUTURE:
            return "occurred_in_future"
        if not VALID_FROM <= day <= VALID_TO:
            return "outside_validity"
        if days_past > LATE_DAYS:
            return "too_late"
        self.ids.add((app, report_id))
        methodology, scene = GRANTED[app]
        if record["methodology"] != methodology:
            return "methodology_unknown"
        if record.get("scene_id", scene) != scene:
            return "scene_not_granted"
        if not record.get("region", "4403").startswith("4403"):
            return "out_of_region"
        distance_m = self.behaviours[entry["line"]][2]
        is_distance = record["activity"].keys() == {"distance_m"} and "source_txn" in record
        if not is_distance or distance_m > DISTANCE_M_MAX:
            return "activity_invalid"
        claim = (uid, methodology, record["source_txn"])
        if any((*claim, day + timedelta(days=d)) in self.claims for d in (-1, 0, 1)):
            return "already_claimed"
        self.claims.add((*claim, day))
        reduction_mg = distance_m * MG_PER_M[methodology][0] // MG_PER_M[methodology][1]
        self.reduction_mg[app] += reduction_mg
        if record.get("subject_type", "person") != "person":
            return "recorded_only"
        self.waiting[uid, day].append((app, report_id, reduction_mg))  # 1 g is 1 point: 1 mg is 1/1000
        return None

    def compare_with_tap(self, line, record):
        """A report must be about the person and the distance of its tap."""
        if line not in self.behaviours:
            sys.exit(f"oracle: line {line} of the taps is no behaviour, but was reported")
        card, _, distance_m = self.behaviours[line]
        uid, said = record["uid"], record["activity"].get("distance_m", distance_m)
        if self.card_of.setdefault(uid, card) != card or self.uid_of.setdefault(card, uid) != uid:
            sys.exit(f"oracle: line {line}: not one person for one card")
        if said != distance_m:
            sys.exit(f"oracle: line {line}: the report says {said} m, the fare says {distance_m} m")
        self.reported.add((line, shanghai(record["occurred_at"])))

    def settle(self):
        """Credits what waits, under the day's cap."""
        for (uid, day), reports in self.waiting.items():
            room_milli = CAP_MILLI - self.used_milli[uid, day]
            total_milli = sum(points for _, _, points in reports)
            gained_milli = min(room_milli, total_milli)
            if len({app for app, _, _ in reports}) > 1 and 0 < room_milli < total_milli:
                self.races.append({"uid": uid, "room_milli": room_milli, "reports": reports})
            else:
                for app, _, points in reports:
                    given = min(points, room_milli)
                    room_milli -= given
                    short = "credited_in_part" if given else "cap_reached"
                    self.verdicts[app, "credited" if given == points else short] += 1
                    self.points_milli[app] += given
            self.used_milli[uid, day] += gained_milli
            if gained_milli:
                self.lots[uid][self.expires] += gained_milli
        self.waiting.clear()

    def result(self):
        """Everything predicted, as plain values. Exits if a behaviour was never reported."""
        self.settle()
        for saturday in self.saturdays:
            for line, (_, at, _) in self.behaviours.items():
                if (line, at + (saturday - DATA_DAY)) not in self.reported:
                    sys.exit(f"oracle: line {line} of the taps was not reported for {saturday}")
        return {
            "records": self.records,
            "verdicts": [[*key, count] for key, count in sorted(self.verdicts.items())],
            "reduction_mg": self.reduction_mg,
            "points_milli": self.points_milli,
            "persons": self.lots,
            "races": self.races,
        }


def main(taps_path, manifest_path):
    """Prints the result as JSON; exit status 1 and the reason if taps and manifest disagree."""
    oracle = Oracle(read_behaviours(taps_path))
    with open(manifest_path, encoding="utf-8") as manifest:
        for line in manifest:
            oracle.read(json.loads(line))
    print(json.dumps(oracle.result()))


if __name__ == "__main__":
    main(*sys.argv[1:])
