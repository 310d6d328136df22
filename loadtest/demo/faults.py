"""What goes wrong at apps: a seeded share of records that are broken, late, repeated or not allowed.

Each kind has its own share and its own way to spoil an honest report. What becomes of it is not said here:
that is for the platform to decide, and for loadtest/demo/oracle to know.
"""

import datetime as dt
from collections.abc import Callable
from typing import NamedTuple

from loadtest.demo.reports import (
    METHODOLOGIES,
    SCENES,
    Behaviour,
    encode,
    honest_report,
    replayed,
    report_id,
)
from schemas.limits import LATE_WINDOW_DAYS, RECORD_BYTES_MAX

# Shapes of personal data that belong to nobody: serial 000 is never given; a digit sequence for the phone.
_ID_NUMBER = "440301190001010003"
_PHONE = "13800138000"
_BEFORE_REGULATION = dt.datetime(2022, 8, 17, 8, tzinfo=dt.timezone(dt.timedelta(hours=8)))


class Case(NamedTuple):
    """One behaviour on one Saturday, about to be reported wrongly."""

    behaviour: Behaviour
    saturday: dt.date
    clock: dt.datetime  # the platform's time when the records are sent

    def report(self, **changes) -> dict:
        """The honest report with some fields changed; None takes a field away."""
        fields = honest_report(self.behaviour, self.saturday) | changes
        return {name: value for name, value in fields.items() if value is not None}

    def new_id(self, kind: str) -> str:
        """Another id for the same behaviour."""
        return report_id(replayed(self.behaviour.tap.at, self.saturday), self.behaviour.tap, kind)

    def moved(self, at: dt.datetime, kind: str) -> dict:
        """The report as if the behaviour had been at another time, under an id of that day."""
        at = at.replace(microsecond=0)
        fields = self.report(occurred_at=at.isoformat(), report_id=report_id(at, self.behaviour.tap, kind))
        return fields | ({"ended_at": at.isoformat()} if "ended_at" in fields else {})


class Fault(NamedTuple):
    """`share`: records of this kind per 100,000 behaviours; `make`: what is sent."""

    share: int
    make: Callable[[Case], bytes]


def _other_app(case: Case) -> str:
    return "bus" if case.behaviour.app == "metro" else "metro"


def _float_distance(case: Case) -> bytes:
    return encode(case.report(activity={"distance_m": case.behaviour.distance_m + 0.5}))


def _not_json(case: Case) -> bytes:
    return encode(case.report())[:-9]


def _wrong_day(case: Case) -> bytes:
    day_before = replayed(case.behaviour.tap.at, case.saturday) - dt.timedelta(days=1)
    return encode(case.report(report_id=report_id(day_before, case.behaviour.tap)))


def _distance_twice(case: Case) -> bytes:
    return encode(case.report()).replace(b'{"distance_m":', b'{"distance_m":1,"distance_m":')


def _ended_before(case: Case) -> bytes:
    at = replayed(case.behaviour.tap.at, case.saturday) - dt.timedelta(seconds=1)
    return encode(case.report(ended_at=at.isoformat()))


def _too_late(case: Case) -> bytes:
    first_day_out = case.clock.date() - dt.timedelta(days=LATE_WINDOW_DAYS + 1)
    at = dt.datetime.combine(first_day_out, case.behaviour.tap.at.time(), case.clock.tzinfo)
    return encode(case.moved(at, "too_late"))


def _in_future(case: Case) -> bytes:
    return encode(case.moved(case.clock + dt.timedelta(hours=6), "in_future"))


# Sent before the honest report of the same behaviour. Kinds that are refused without being remembered keep
# its id, as an app does that repairs a record and sends it again.
BEFORE: dict[str, Fault] = {
    "not_json": Fault(80, _not_json),
    "float_distance": Fault(80, _float_distance),
    "unknown_field": Fault(80, lambda c: encode(c.report(points=1_000))),
    "missing_field": Fault(80, lambda c: encode(c.report(occurred_at=None))),
    "wrong_day": Fault(80, _wrong_day),
    "distance_twice": Fault(40, _distance_twice),
    "ended_before": Fault(40, _ended_before),
    "other_version": Fault(60, lambda c: encode(c.report(version=2))),
    "too_large": Fault(10, lambda c: encode(c.report(evidence={"photo": "0" * RECORD_BYTES_MAX}))),
    "id_number": Fault(40, lambda c: encode(c.report(evidence={"holder": _ID_NUMBER}))),
    "phone_number": Fault(40, lambda c: encode(c.report(source_txn=_PHONE))),
    "phone_in_id": Fault(40, lambda c: encode(c.report(report_id=f"{c.new_id('')[:9]}138-0013-8000"))),
    "forbidden_kind": Fault(60, lambda c: encode(c.report(kind="transfer"))),
    "misrouted": Fault(150, lambda c: encode(c.report())),
    "in_future": Fault(80, _in_future),
    "before_regulation": Fault(60, lambda c: encode(c.moved(_BEFORE_REGULATION, "before_regulation"))),
    "too_late": Fault(100, _too_late),
    "unknown_methodology": Fault(
        100, lambda c: encode(c.report(methodology="SZ-WALK", report_id=c.new_id("unknown_methodology")))
    ),
    "methodology_of_other_app": Fault(
        60,
        lambda c: encode(
            c.report(methodology=METHODOLOGIES[_other_app(c)], report_id=c.new_id("methodology_of_other_app"))
        ),
    ),
    "scene_of_other_app": Fault(
        60,
        lambda c: encode(c.report(scene_id=SCENES[_other_app(c)], report_id=c.new_id("scene_of_other_app"))),
    ),
    "other_region": Fault(
        80, lambda c: encode(c.report(region="440100", report_id=c.new_id("other_region")))
    ),
    "other_unit": Fault(
        60, lambda c: encode(c.report(activity={"steps": 6_000}, report_id=c.new_id("other_unit")))
    ),
}
# Sent in place of the honest report.
INSTEAD: dict[str, Fault] = {
    "household": Fault(150, lambda c: encode(c.report(subject_type="household"))),
}
# Sent after the honest report of the same Saturday.
AFTER: dict[str, Fault] = {
    "sent_again": Fault(1_000, lambda c: encode(c.report())),
    "new_id": Fault(400, lambda c: encode(c.report(report_id=c.new_id("new_id")))),
    "other_content": Fault(60, lambda c: encode(c.report(evidence={"corrected": True}))),
}
# Sent one Saturday later, which is inside the late window: in place of the honest report, and after it.
LATER_INSTEAD: dict[str, Fault] = {
    "kept_back": Fault(300, lambda c: encode(c.report())),
}
LATER_AFTER: dict[str, Fault] = {
    "sent_again_later": Fault(200, lambda c: encode(c.report())),
}
SHARES_OF = 100_000
