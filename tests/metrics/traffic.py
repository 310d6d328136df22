"""Reports whose verdicts are mixed: of every twenty, so many are spoilt in a known way."""

import datetime as dt
import hashlib
import json

from confluent_kafka import Producer

from schemas.report import SHANGHAI
from schemas.topics import intake_topic

METHODOLOGY = {"metro": "SZ-METRO", "bus": "SZ-BUS-BEV", "ridecode": "SZ-METRO"}
PERSONS = 40_000


def send_mixed(producer: Producer, app: str, first: int, count: int) -> None:
    """Records number `first` to `first + count - 1` of an app: 14 of 20 are good."""
    now = dt.datetime.now(SHANGHAI) - dt.timedelta(seconds=30)
    for number in range(first, first + count):
        uid, value = _record(app, number, now)
        producer.produce(intake_topic(app), value, key=uid)
        producer.poll(0)


def _record(app: str, number: int, now: dt.datetime) -> tuple[str, bytes]:
    uid = hashlib.md5(str(number % PERSONS).encode()).hexdigest()
    report = {
        "version": 1,
        "kind": "report",
        "uid": uid,
        "report_id": f"{now:%Y%m%d}-{app}-{number}",
        "methodology": METHODOLOGY[app],
        "occurred_at": now.isoformat(timespec="seconds"),
        "activity": {"distance_m": 1_000 + number % 9_000},
        "source_txn": f"{app}-{number}",
    }
    match number % 20:
        case 3:
            report["report_id"] = f"{now:%Y%m%d}-{app}-{number - 1}"  # duplicate, unless of another person
        case 7:
            return uid, json.dumps(report).encode()[:-7]  # malformed
        case 11:
            report["methodology"] = "SZ-WALK"
        case 13:
            late = now - dt.timedelta(days=15)
            report |= {"occurred_at": late.isoformat(timespec="seconds")}
            report["report_id"] = f"{late:%Y%m%d}-{app}-{number}"
        case 15:
            report["subject_type"] = "household"
        case 19:
            report["version"] = 2
    return uid, json.dumps(report).encode()
