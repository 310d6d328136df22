"""What an app would send."""

import datetime as dt
import hashlib
import json

from confluent_kafka import Producer

from schemas.report import SHANGHAI
from schemas.topics import intake_topic


def send(producer: Producer, app: str, first: int, count: int) -> None:
    """Valid reports number `first` to `first + count - 1` of an app."""
    now = dt.datetime.now(SHANGHAI) - dt.timedelta(seconds=30)
    for i in range(first, first + count):
        uid = hashlib.md5(str(i % 500).encode()).hexdigest()
        report = {
            "version": 1,
            "kind": "report",
            "uid": uid,
            "report_id": f"{now:%Y%m%d}-{app}-{i}",
            "methodology": "SZ-BUS-BEV" if app == "bus" else "SZ-METRO",
            "occurred_at": now.isoformat(timespec="seconds"),
            "activity": {"distance_m": 1000 + i},
            "source_txn": f"{app}-{i}",
        }
        producer.produce(intake_topic(app), json.dumps(report).encode(), key=uid)
        producer.poll(0)
