"""The open loop: reports come at a steady rate, whatever becomes of them, and each outcome is waited for.

A report's time runs from the moment at which it was due, not from that at which it could be sent: what holds
a sender up counts, as it does for whoever waits for the outcome.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as Partition

from loadtest.bench.preload import producer_of, refuse, send
from loadtest.bench.processes import Workers
from loadtest.bench.reports import APPS, Load
from schemas.topics import LEDGER, intake_topic, outcomes_topic
from stream.errors import OperatorError
from stream.operate.platform.onboarding import app_principal
from stream.operate.projection import open_projection
from stream.settings import Settings

WARM_UP_S = 15.0  # the first cycles load libraries, and so does the first insert
ANSWER_TIMEOUT_S = 60.0
LINGER_MS = 5
STEP_S = 0.001  # a finer sleep costs the machine more than it gives


class Paced(NamedTuple):
    """What came of the records that were due after the warm-up: how long each waited that brought its report
    first, the bytes of their ledger on disk and its blocks, and CPU seconds by kind of process."""

    latencies_s: list[float]
    records: int
    seconds: float
    ledger_bytes: int
    blocks: int
    cpu_s: dict[str, float]


class _Spent(NamedTuple):
    """How far everything is at one moment."""

    ledger_bytes: int
    blocks: int
    cpu_s: dict[str, float]


def run_paced(
    settings: Settings, workers: Workers, load: Load, rate: int, on_sent: Callable[[int], None]
) -> Paced:
    """Sends the load at `rate` records a second. Raises OperatorError if an outcome stays away."""
    records = list(load.records())
    warm = int(WARM_UP_S * rate)
    with ExitStack() as opened:
        readers = [opened.enter_context(closing(_Reader(settings, app))) for app in APPS]
        pace = _Pace(settings, rate)
        pace.send(records[:warm], on_sent)
        before, began = _spent(settings, workers), warm / rate
        pace.send(records[warm:], on_sent)
        ended_s = time.monotonic()
        ids = [(i, report_id) for i, report_id in load.first_ids() if i >= warm]
        _await(workers, readers, {report_id for _, report_id in ids})
        after = _spent(settings, workers)
    answered_s = {report_id: at_s for reader in readers for report_id, at_s in reader.answered_s.items()}
    return Paced(
        [answered_s[report_id] - pace.due_s(i) for i, report_id in ids],
        len(records) - warm,
        ended_s - pace.began_s - began,
        after.ledger_bytes - before.ledger_bytes,
        after.blocks - before.blocks,
        {kind: used_s - before.cpu_s[kind] for kind, used_s in after.cpu_s.items()},
    )


class _Pace:
    """Sends records at a steady rate, from the first call on."""

    def __init__(self, settings: Settings, rate: int) -> None:
        self._failures: list[KafkaError] = []
        self._producers = {
            app: producer_of(settings.librdkafka(app_principal(app)), self._failures, LINGER_MS)
            for app in APPS
        }
        self._rate, self._sent = rate, 0
        self.began_s = time.monotonic()

    def due_s(self, number: int) -> float:
        """When record `number` is due, on the monotonic clock."""
        return self.began_s + number / self._rate

    def send(self, records: Iterable, on_sent: Callable[[int], None]) -> None:
        """The next records, each when it is due; all are with the broker in the end."""
        told = self._sent
        for app, key, value in records:
            while (ahead_s := self.due_s(self._sent) - time.monotonic()) > 0:
                for producer in self._producers.values():
                    producer.poll(0)
                refuse(self._failures)
                on_sent(self._sent - told)
                told = self._sent
                time.sleep(max(ahead_s if ahead_s < 0.1 else 0.1, STEP_S))
            send(self._producers[app], intake_topic(app), key, value)
            self._sent += 1


class _Reader:
    """Reads an app's outcomes in a thread of its own, and notes when each report's first one came."""

    def __init__(self, settings: Settings, app: str) -> None:
        self.answered_s: dict[bytes, float] = {}
        self._stop = threading.Event()
        user = app_principal(app)
        self._consumer = Consumer(
            {**settings.librdkafka(user), "group.id": user, "fetch.wait.max.ms": 20}
            | {"enable.auto.commit": False}
        )
        topic = outcomes_topic(app)
        self._consumer.assign([Partition(topic, shard, 0) for shard in range(settings.shards)])
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._stop.is_set():
            found = self._consumer.consume(5_000, 0.02)
            now_s = time.monotonic()
            for message in found:
                value = message.value()
                if value and not message.error():
                    # By hand: parsing the JSON of 30,000 outcomes a second would be half a core.
                    self.answered_s.setdefault(value.split(b'"', 6)[5], now_s)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()


def _await(workers: Workers, readers: list[_Reader], ids: set[bytes]) -> None:
    deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
    while missing := len(ids.difference(*(list(reader.answered_s) for reader in readers))):
        workers.check()
        if time.monotonic() > deadline_s:
            what = f"left {missing:,} of {len(ids):,} reports without an outcome"
            raise OperatorError(
                f"The platform {what} for {ANSWER_TIMEOUT_S:.0f} s.",
                "lower --rate until it keeps up; logs/intake-1.log in the bench's folder says why it waits.",
            )
        time.sleep(0.2)


def _spent(settings: Settings, workers: Workers) -> _Spent:
    logs = settings.home.glob(f"**/{LEDGER}-[0-9]*/*.log")
    return _Spent(sum(path.stat().st_size for path in logs), asyncio.run(_blocks(settings)), workers.cpu_s())


async def _blocks(settings: Settings) -> int:
    async with open_projection(settings) as store:
        heads = [await store.load_head(shard) for shard in range(settings.shards)]
    return sum(head.seq for head in heads if head)
