"""What a run of the demo found out, for the page and for programs."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from loadtest.demo.app_client import AppClient
from loadtest.demo.figures import Difference, Figures
from loadtest.demo.replay import Timed
from loadtest.demo.reports import APPS, Behaviours
from loadtest.demo.ridecode import APP as RIDECODE
from loadtest.demo.rogue import Account
from loadtest.demo.story import Story
from loadtest.demo.taps import Taps

MG_PER_T = 1_000_000_000
# Who has the claim on a trip, by ridecode's verdict.
_HOLDERS = {"already_claimed": "metro"}
_HOLDERS |= dict.fromkeys(("credited", "credited_in_part", "cap_reached", "recorded_only"), RIDECODE)


class Answered(NamedTuple):
    """A query and its answer, as text."""

    question: str
    sql: str
    names: list[str]
    rows: list[list[str]]


class Result(NamedTuple):
    """`parts` are the five that must agree, `figures` those of the ledger, `races` as the oracle has them."""

    home: Path
    taps_path: Path
    taps: Taps
    behaviours: Behaviours
    clients: dict[str, AppClient]
    parts: dict[str, Figures]
    differences: list[Difference]
    races: list[dict]
    story: Story | None
    answered: list[Answered]
    timed: list[Timed]
    cpu_s: Counter[str]
    kills: list[str]
    hostile: Account | None

    @property
    def figures(self) -> Figures:
        """The truth: what the ledger says."""
        return self.parts["ledger"]

    @property
    def records(self) -> int:
        """All records sent."""
        return sum(len(client.sent) for client in self.clients.values())

    @property
    def seconds(self) -> float:
        """From the first record to the last outcome, without the time between two Saturdays."""
        return sum(timed.seconds for timed in self.timed)

    def races_over(self, what: str) -> int:
        """In how many persons' rounds apps raced over a "claim" or the "cap"."""
        return sum(what in race["over"] for race in self.races)

    def trips_of_two_apps(self) -> Counter[tuple[str, str]]:
        """Trips that ridecode reports, by when it does, and by the app that has the claim; '' for none."""
        client = self.clients[RIDECODE]
        return Counter(
            (record.kind, _HOLDERS.get(client.outcomes[place].verdict, ""))
            for place, record in client.sent.items()
        )

    def points_milli_by_day(self) -> Counter[str]:
        """Points of all lots by their last valid day."""
        days: Counter[str] = Counter()
        for lots in self.figures.lots.values():
            days.update(lots)
        return days

    def plain(self) -> dict:
        """The result for programs."""
        verdicts, reduction_mg, points_milli = self.figures.by_app()
        by_app = {
            app: {
                "sent": len(self.clients[app].sent),
                "verdicts": {v: n for (a, v), n in sorted(verdicts.items()) if a == app},
                "reduction_mg": reduction_mg[app],
                "points_milli": points_milli[app],
            }
            for app in APPS
        }
        return {
            "replayed": [timed.saturday.date.isoformat() for timed in self.timed],
            "home": str(self.home),
            "taps": self.taps.rows,
            "behaviours": len(self.behaviours.reported),
            "records": self.records,
            "persons": len(self.figures.lots),
            "apps": by_app,
            "points_milli_by_expiry": dict(sorted(self.points_milli_by_day().items())),
            "races": {what: self.races_over(what) for what in ("claim", "cap")},
            "trips_of_two_apps": [[*key, trips] for key, trips in sorted(self.trips_of_two_apps().items())],
            "seconds": round(self.seconds, 3),
            "cpu_s": {name: round(seconds, 2) for name, seconds in self.cpu_s.items()},
            "kills": self.kills,
            "hostile": self.hostile and self.hostile._asdict(),
            "reconciled": not self.differences,
            "differences": [d._asdict() for d in self.differences],
        }
