"""The app that floods: a program of its own, which sends as fast as the broker lets it.

    python -m loadtest.flood.flooder KIND SECONDS

Ends after SECONDS, without waiting for what is still queued, and prints how many records the broker took.
Everything is compressed by zstd, as a quota counts bytes on the wire: nothing packs more in.
"""

import asyncio
import datetime as dt
import itertools
import json
import sys
import time
from collections.abc import Iterator

from confluent_kafka import Producer

from loadtest.bench.reports import Load
from loadtest.hostile import kinds
from loadtest.hostile.batches import Batch
from loadtest.hostile.sender import Sender
from schemas.report import SHANGHAI
from schemas.topics import intake_topic
from stream.operate.platform.onboarding import app_principal
from stream.settings import Settings, load

APP = "metro"
REPORTS = "reports"
SEED = 7
REPORTS_MAX = 400_000  # without a quota: more than half a minute's work for a core
QUEUED_MAX = 50_000
RUBBISH_RECORDS = 5_000  # of one batch


def batches_of(kind: str) -> list[Batch]:
    """What a hostile kind sends, over and over."""
    values = [report.value for report in _reports(100)]
    match kind:
        case "tiny":
            return [kinds.tiny()]
        case "large":
            return [kinds.large(values)]
        case "rubbish":
            return [kinds.rubbish(values, RUBBISH_RECORDS)]
        case _:
            return list(kinds.unreadable().values())


def flood(settings: Settings, kind: str, seconds: float) -> int:
    """The number of records, or offsets of batches, that the broker took."""
    if kind == REPORTS:
        return _flood_reports(settings, seconds)
    return asyncio.run(_flood_batches(settings, batches_of(kind), seconds))


async def _flood_batches(settings: Settings, batches: list[Batch], seconds: float) -> int:
    deadline_s = time.monotonic() + seconds
    endless = itertools.cycle(batches)

    async def into(partition: int) -> int:
        taken = 0
        async with Sender(settings, APP) as sender:
            while (left_s := deadline_s - time.monotonic()) > 0:
                batch = next(endless)
                try:
                    offset = await asyncio.wait_for(sender.send(partition, batch), left_s)
                except TimeoutError:
                    break  # its quota is used up for longer
                taken += 0 if offset is None else batch.offsets
        return taken

    return sum(await asyncio.gather(*(into(partition) for partition in range(settings.shards))))


def _flood_reports(settings: Settings, seconds: float) -> int:
    """Sends distinct, valid reports, as a producer does."""
    taken = 0

    def delivered(error, _) -> None:
        nonlocal taken
        taken += error is None

    producer = Producer(
        {
            **settings.librdkafka(app_principal(APP)),
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "zstd",
            "linger.ms": 5,
            "queue.buffering.max.messages": QUEUED_MAX,
        }
    )
    deadline_s = time.monotonic() + seconds
    for report in _reports(REPORTS_MAX):
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


def _reports(count: int) -> Iterator:
    today = dt.datetime.now(SHANGHAI).date()
    of_app = (report for report in Load(2 * count, SEED, today).records() if report.app == APP)
    return itertools.islice(of_app, count)


if __name__ == "__main__":
    print(json.dumps({"taken": flood(load(), sys.argv[1], float(sys.argv[2]))}))
