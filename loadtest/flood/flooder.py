"""The app that floods: a program of its own, which sends as fast as the broker lets it.

    python -m loadtest.flood.flooder SECONDS RECORDS

Ends after SECONDS or RECORDS, whichever comes first, without waiting for what is still queued, and prints how
much the broker took. Compressed by zstd, as a quota counts bytes on the wire: nothing packs more reports in.
"""

import datetime as dt
import json
import sys
import time

from confluent_kafka import Producer

from loadtest.bench.reports import Load
from schemas.report import SHANGHAI
from schemas.topics import intake_topic
from stream.platform.onboarding import app_principal
from stream.settings import load

APP = "metro"
SEED = 7
QUEUED_MAX = 50_000


def flood(seconds: float, records: int) -> int:
    """Sends distinct, valid reports; the number that the broker took."""
    taken = 0

    def delivered(error, _) -> None:
        nonlocal taken
        taken += error is None

    producer = Producer(
        {
            **load().librdkafka(app_principal(APP)),
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "zstd",
            "linger.ms": 5,
            "queue.buffering.max.messages": QUEUED_MAX,
        }
    )
    today = dt.datetime.now(SHANGHAI).date()
    reports = (r for r in Load(2 * records, SEED, today).records() if r.app == APP)
    deadline_s = time.monotonic() + seconds
    for report in reports:
        while time.monotonic() < deadline_s:
            try:
                producer.produce(intake_topic(APP), report.value, report.key, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.01)
        producer.poll(0)
        if time.monotonic() >= deadline_s:
            break
    producer.purge(in_flight=False)
    producer.flush(5)
    return taken


if __name__ == "__main__":
    print(json.dumps({"taken": flood(float(sys.argv[1]), int(sys.argv[2]))}))
