"""Behaviours of one Saturday, and the report that an honest app makes of each."""

import datetime as dt
import hashlib
from typing import NamedTuple

import orjson

from loadtest.demo.distance import distance_m
from loadtest.demo.taps import SATURDAY, Kind, Tap, Taps, entries_of_exits

APPS = ("metro", "bus", "ridecode")
METHODOLOGIES = {"metro": "SZ-METRO", "bus": "SZ-BUS-BEV", "ridecode": "SZ-METRO"}
SCENES = {"metro": "metro-gate", "bus": "bus-reader", "ridecode": "metro-gate"}
REGION = "440300"
# Six weeks across the end of a month, so that the lots expire in two months.
FIRST_SATURDAY = dt.date(2024, 9, 7)
SATURDAYS_MAX = 6
_SHANGHAI = dt.timezone(dt.timedelta(hours=8))


class Behaviour(NamedTuple):
    """A tap that its own app reports, its distance, and the entry that opened the trip where there is one."""

    tap: Tap
    app: str
    distance_m: int
    entry: Tap | None


class Behaviours(NamedTuple):
    """What of the taps is reported, in the file's order, and what is not, and why."""

    reported: list[Behaviour]
    same_station: int
    no_distance: int


def behaviours_of(taps: Taps) -> Behaviours:
    """Metro exits and bus taps that an app can report."""
    entries = entries_of_exits(taps.taps)
    reported: list[Behaviour] = []
    same_station = no_distance = 0
    for tap in taps.taps:
        if tap.kind == Kind.ENTRY:
            continue
        entry = entries.get(tap.line)
        distance = distance_m(tap)
        if entry is not None and tap.station and entry.station == tap.station:
            same_station += 1
        elif distance is None:
            no_distance += 1
        else:
            app = "metro" if tap.kind == Kind.EXIT else "bus"
            reported.append(Behaviour(tap, app, distance, entry))
    return Behaviours(reported, same_station, no_distance)


def saturdays(count: int = SATURDAYS_MAX) -> list[dt.date]:
    """The Saturdays on which the taps are replayed."""
    return [FIRST_SATURDAY + dt.timedelta(weeks=week) for week in range(count)]


def replayed(at: dt.datetime, saturday: dt.date) -> dt.datetime:
    """A tap's time on another Saturday: weekday and time of day stay true."""
    return (at + (saturday - SATURDAY)).replace(tzinfo=_SHANGHAI)


def simulated_clock(saturday: dt.date, behaviours: list[Behaviour]) -> dt.datetime:
    """When the reports of a Saturday are sent: at noon, or at the next noon if the taps run on past it."""
    noon = dt.datetime.combine(SATURDAY, dt.time(12))
    if any(b.tap.at > noon for b in behaviours):
        noon += dt.timedelta(days=1)
    return replayed(noon, saturday)


def person_of(card_no: str) -> str:
    """A card's pseudonym for this platform: 32 hex, the same in every run."""
    return hashlib.sha256(b"points demo person:" + card_no.encode()).hexdigest()[:32]


def tap_hash(tap: Tap, salt: str = "") -> str:
    """16 hex that belong to a tap: the same tap twice in a file gives the same."""
    identity = f"{tap.card_no}|{tap.at.isoformat()}|{tap.kind}|{tap.reader}|{salt}"
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def report_id(at: dt.datetime, tap: Tap, salt: str = "") -> str:
    """The app's id of a report, made from the tap, so that an app that lost its memory makes it again."""
    return f"{at:%Y%m%d}-{tap_hash(tap, salt)}"


def honest_report(behaviour: Behaviour, saturday: dt.date, by: str = "") -> dict:
    """The report of a behaviour by its own app, or by another one under an id of its own; some carry the
    optional fields."""
    tap, app = behaviour.tap, by or behaviour.app
    at = replayed(tap.at, saturday)
    report = {
        "version": 1,
        "kind": "report",
        "uid": person_of(tap.card_no),
        "report_id": report_id(at, tap, by),
        "methodology": METHODOLOGIES[app],
        "occurred_at": at.isoformat(),
        "activity": {"distance_m": behaviour.distance_m},
        "source_txn": f"{tap.reader or 'reader'}-{at:%Y%m%dT%H%M%S}",
        "region": REGION,
    }
    return report | _optional_fields(behaviour, app, at)


def _optional_fields(behaviour: Behaviour, app: str, at: dt.datetime) -> dict:
    """About every 50th report each: most apps leave most fields out."""
    choice = behaviour.tap.line % 50
    if choice == 0:
        return {"scene_id": SCENES[app]}
    if choice == 1:
        return {"evidence_tier": "operator-record", "other_mechanism": False, "subject_type": "person"}
    if choice == 2:
        return {"claimed_reduction_g": behaviour.distance_m // 25, "ended_at": at.isoformat()}
    if choice == 3:
        return {"evidence": {"fare_fen": behaviour.tap.fare_fen, "line": behaviour.tap.company}}
    return {}


def encode(report: dict) -> bytes:
    """A report as the app sends it."""
    return orjson.dumps(report)
