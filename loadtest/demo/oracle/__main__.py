"""Judges the records of a manifest; the rules of the platform, written down once more.

Apps send at the same time, so their records of one person meet in an order that nobody can foretell. It
matters in two places only: where two apps report one trip, and where a day's cap binds a person's reports of
several apps, in one round (what is sent before everything of it was answered). The person's sum is the same
in any order and is predicted; which report gets how much follows from the order of arrival. Such reports are
listed as `races`, with all that is needed to follow the order, and counted as no verdict.
"""

import json
import sys
from collections import Counter, defaultdict
from datetime import date, timedelta

from order import in_order, races
from records import read_record, shanghai, shard_of
from taps import read_behaviours

MG_PER_M = {"SZ-METRO": (468, 10), "SZ-BUS-BEV": (269, 10)}  # 46.8 and 26.9 g/km, exactly
GRANTED = {"metro": ("SZ-METRO", "metro-gate"), "bus": ("SZ-BUS-BEV", "bus-reader")}
GRANTED["ridecode"] = GRANTED["metro"]
OWN_APPS = ("metro", "bus")  # must report every behaviour; ridecode reports what it likes
VALID_FROM, VALID_TO = date(2022, 8, 18), date(2027, 8, 17)
CAP_MILLI, LATE_DAYS, FUTURE = 1_000_000, 9, timedelta(minutes=5)
DISTANCE_M_MAX = 80_000
DATA_DAY = date(2018, 9, 1)


class Oracle:
    """Judges the records of a manifest in the order in which each app sent them."""

    def __init__(self, behaviours):
        self.behaviours = behaviours
        self.shards, self.now, self.expires, self.saturdays, self.records = 1, None, None, [], 0
        self.card_of, self.uid_of = {}, {}
        self.reported = set()  # (line, time) of every report of a behaviour by its own app
        self.ids, self.claims = set(), set()
        self.waiting = defaultdict(list)  # the valid reports of this round by person: see order.py
        self.used_milli = Counter()  # of the cap of a person and behaviour day
        self.lots = defaultdict(Counter)  # uid -> points in 1/1000 by last valid day
        self.verdicts, self.reduction_mg, self.points_milli, self.races = Counter(), Counter(), Counter(), []

    def read(self, entry):
        """One line of the manifest."""
        if entry["kind"] == "run":
            self.shards = entry["shards"]
        elif entry["kind"] == "answered":
            self.settle()
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
        """The verdict of a record; None where it waits for the others of its round."""
        refused, record = read_record(entry["value"])
        if refused:
            return refused
        app, uid, report_id = entry["app"], record["uid"], record["report_id"]
        self.compare_with_tap(entry["line"], app, record)
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
        claim, number = f"{methodology} {record['source_txn']}", day.toordinal()
        if any((uid, claim, near) in self.claims for near in (number - 1, number, number + 1)):
            return "already_claimed"
        reduction_mg = distance_m * MG_PER_M[methodology][0] // MG_PER_M[methodology][1]
        earns = record.get("subject_type", "person") == "person"
        self.waiting[uid].append([app, report_id, claim, number, reduction_mg, earns])
        return None

    def compare_with_tap(self, line, app, record):
        """A report must be about the person and the distance of its tap."""
        if line not in self.behaviours:
            sys.exit(f"oracle: line {line} of the taps is no behaviour, but was reported")
        card, _, distance_m = self.behaviours[line]
        uid, said = record["uid"], record["activity"].get("distance_m", distance_m)
        if self.card_of.setdefault(uid, card) != card or self.uid_of.setdefault(card, uid) != uid:
            sys.exit(f"oracle: line {line}: not one person for one card")
        if said != distance_m:
            sys.exit(f"oracle: line {line}: the report says {said} m, the fare says {distance_m} m")
        if app in OWN_APPS:
            self.reported.add((line, shanghai(record["occurred_at"])))

    def settle(self):
        """Records and credits what waits; of a race only what is certain."""
        for uid, reports in self.waiting.items():
            room_milli = {day: CAP_MILLI - self.used_milli[uid, day] for _, _, _, day, _, _ in reports}
            over = races(reports, room_milli)
            if over:
                rooms = list(room_milli.items())
                self.races.append({"uid": uid, "over": over, "room_milli": rooms, "reports": reports})
            settled = in_order(reports, room_milli)
            for (app, _, claim, day, _, _), what in zip(reports, settled, strict=True):
                verdict, reduction_mg, points = what
                if not over:
                    self.verdicts[app, verdict] += 1
                    self.reduction_mg[app] += reduction_mg
                    self.points_milli[app] += points
                if verdict != "already_claimed":
                    self.claims.add((uid, claim, day))
                if points:
                    self.used_milli[uid, day] += points
                    self.lots[uid][self.expires] += points
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
