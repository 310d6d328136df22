"""A few hundred reports of three apps on three days, some of them refused: what the pages' queries find."""

import datetime as dt
import hashlib
import json

from confluent_kafka import Producer

from schemas.report import SHANGHAI
from schemas.shards import shards_of
from schemas.topics import COMMANDS, intake_topic
from stream.settings import Settings

LONG_AGO = dt.datetime(2022, 9, 24, 12, tzinfo=SHANGHAI)  # what it brings ends on 2024-09-30
SATURDAY = dt.datetime(2024, 9, 28, 12, tzinfo=SHANGHAI)
HOLIDAY = dt.datetime(2024, 10, 1, 12, tzinfo=SHANGHAI)
DAYS = (LONG_AGO, SATURDAY, HOLIDAY)
METHODOLOGIES = {"metro": "SZ-METRO", "bus": "SZ-BUS-BEV", "ridecode": "SZ-METRO"}
REGULARS = 40  # person 0 meets most of the platform


def uid_of(person: int) -> str:
    """A person's pseudonym."""
    return hashlib.md5(f"person {person}".encode()).hexdigest()


class Sender:
    """Sends as the three apps and as the platform; `sent` counts the apps' records."""

    def __init__(self, settings: Settings) -> None:
        self._shards = settings.shards
        self._producers = {
            name: Producer(
                {**settings.librdkafka(name), "partitioner": "murmur2_random", "acks": "all", "log_level": 0}
            )
            for name in ("admin", *(f"app-{app}" for app in METHODOLOGIES))
        }
        self.sent = 0

    def set_clock(self, now: dt.datetime) -> None:
        """Tells every shard what time it is."""
        command = json.dumps({"version": 1, "kind": "clock", "at": now.isoformat()})
        for shard in range(self._shards):
            self._producers["admin"].produce(COMMANDS, command, partition=shard)
        self.flush()

    def flush(self) -> None:
        """Returns once the broker has all."""
        for producer in self._producers.values():
            assert producer.flush(30) == 0

    def send(self, app: str, record: dict | bytes, person: int, **produce: int) -> None:
        """One record of an app."""
        value = record if isinstance(record, bytes) else json.dumps(record).encode()
        self._producers[f"app-{app}"].produce(intake_topic(app), value, key=uid_of(person), **produce)
        self.sent += 1

    def send_day(self, noon: dt.datetime) -> None:
        """What the apps send on the morning of one day: ridecode before and after the others."""
        for person in range(1, REGULARS, 6):
            self.send("ridecode", report("ridecode", noon, person, 0, 3_000 + 211 * person), person)
        self.flush()
        for person in range(REGULARS):
            self.send("metro", report("metro", noon, person, 0, 3_000 + 211 * person), person)
            self.send("bus", report("bus", noon, person, 1, 900 + 97 * person), person)
            if person % 4 == 0:  # there and back, the way back beyond the day's cap
                self.send("metro", report("metro", noon, person, 2, 20_000), person)
                self.send("bus", report("bus", noon, person, 3, 4_000), person)
            if person % 5 == 0:  # up to eight days late
                days_ago = dt.timedelta(days=1 + person // 5)
                self.send("bus", report("bus", noon - days_ago, person, 9, 2_500), person)
        for person, record in enumerate(_refused(noon)):
            self.send("metro", record, person % 3)
        wrong = (shards_of([uid_of(5)], self._shards)[0] + 1) % self._shards
        self.send("bus", report("bus", noon, 5, 7, 2_000), 5, partition=wrong)
        self.send("bus", report("bus", noon, 11, 10, 997, source_txn=txn(noon, 12, 1)), 11)  # as person 12
        self.send("metro", report("metro", noon, 39, 10, 79_000), 39)
        self.flush()
        for person in range(0, REGULARS, 6):
            self.send("ridecode", report("ridecode", noon, person, 0, 3_000 + 211 * person), person)
        self.flush()


def report(app: str, noon: dt.datetime, person: int, number: int, distance_m: int, **changes: object) -> dict:
    """A valid report, but for `changes`."""
    at = noon - dt.timedelta(hours=4) + dt.timedelta(minutes=5 * person % 120 + 12 * number)
    transaction = txn(noon, person, number)
    return {
        "version": 1,
        "kind": "report",
        "uid": uid_of(person),
        "report_id": f"{at:%Y%m%d}-{app}-{transaction}",
        "methodology": METHODOLOGIES[app],
        "occurred_at": at.isoformat(),
        "activity": {"distance_m": distance_m},
        "source_txn": transaction,
        **changes,
    }


def txn(noon: dt.datetime, person: int, number: int) -> str:
    """The operator's number of a trip."""
    return f"{noon:%m%d}-{person:03d}-{number}"


def _refused(noon: dt.datetime) -> list[dict | bytes]:
    """One record of each kind, told apart by its number: of the persons 0, 1, 2, 0, 1, 2 and so on."""

    def wrong(person: int, number: int, **changes: object) -> dict:
        return report("metro", noon, person, number, 5_000, **changes)

    long_ago = noon - dt.timedelta(days=20)
    return [
        report("metro", noon, 0, 0, 3_000),  # sent again
        wrong(1, 5, activity={"distance_m": 5_000.5}),
        wrong(2, 5, points=1_000),
        wrong(0, 5, report_id=f"{noon:%Y%m%d}-other-id", source_txn=f"{noon:%m%d}-000-0"),
        wrong(1, 6, evidence={"holder": "13800138000"}),
        wrong(2, 6, methodology="SZ-WALK"),
        wrong(0, 6, subject_type="household"),
        wrong(1, 7, kind="transfer"),
        wrong(2, 7, region="440100"),
        wrong(0, 7, activity={"steps": 6_000}),
        wrong(1, 8, occurred_at=long_ago.isoformat(), report_id=f"{long_ago:%Y%m%d}-late"),
        b'{"version": 1, "kind": "report"',
        wrong(0, 8, occurred_at=(noon + dt.timedelta(hours=3)).isoformat()),
        report("metro", noon, 1, 0, 4_000),  # an id sent before, with another distance
        report("metro", noon, 2, 0, 3_422, region="440305"),
    ]
