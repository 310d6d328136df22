"""The app that reports as ever: a few reports a second, each timed from its sending to its outcome."""

import datetime as dt
import json
import secrets
import threading
import time

from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as Partition

from schemas.report import SHANGHAI
from schemas.topics import intake_topic, outcomes_topic
from stream.errors import OperatorError
from stream.operate.platform.onboarding import app_principal
from stream.settings import Settings

APP = "bus"
INTERVAL_S = 0.1  # 600 reports a minute, so that a 99th percentile means something
ANSWER_TIMEOUT_S = 120.0


class Probe:
    """Sends from one thread and reads outcomes in another."""

    def __init__(self, settings: Settings) -> None:
        user = app_principal(APP)
        self._settings = settings
        self._producer = Producer(
            {
                **settings.librdkafka(user),
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 0,
                "log_level": 0,
            }
        )
        self._sent_s: dict[str, float] = {}
        self._latency_s: dict[str, float] = {}
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def latencies_s(self, seconds: float) -> list[float]:
        """How long each outcome took, of reports sent for so long. Raises OperatorError if one stays away."""
        ids, end_s = [], time.monotonic() + seconds
        while (now_s := time.monotonic()) < end_s:
            ids.append(self._report())
            time.sleep(max(0.0, now_s + INTERVAL_S - time.monotonic()))  # the app's own pace
        return self._await(ids)

    def close(self) -> None:
        """Leaves the broker."""
        self._stop.set()
        self._reader.join()
        self._producer.flush(10)

    def _await(self, ids: list[str]) -> list[float]:
        deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
        while any(report_id not in self._latency_s for report_id in ids):
            if time.monotonic() > deadline_s:
                raise OperatorError(
                    f"{APP} has waited for an outcome for {ANSWER_TIMEOUT_S:.0f} s.",
                    f"look at {self._settings.home}/logs/intake.log: it says there why it waits.",
                )
            self._producer.poll(0.05)
        return [self._latency_s[report_id] for report_id in ids]

    def _report(self) -> str:
        now = dt.datetime.now(SHANGHAI)
        uid = secrets.token_hex(16)
        report_id = f"{now:%Y%m%d}-{uid[:12]}"
        report = {
            "version": 1,
            "kind": "report",
            "uid": uid,
            "report_id": report_id,
            "methodology": "SZ-BUS-BEV",
            "occurred_at": now.isoformat(timespec="seconds"),
            "activity": {"distance_m": 4_000},
            "source_txn": report_id,
        }
        self._sent_s[report_id] = time.monotonic()
        self._producer.produce(intake_topic(APP), json.dumps(report), uid)
        self._producer.poll(0)
        return report_id

    def _read(self) -> None:
        user = app_principal(APP)
        consumer = Consumer(
            {**self._settings.librdkafka(user), "group.id": user, "fetch.wait.max.ms": 20}
            | {"enable.auto.commit": False}
        )
        topic = outcomes_topic(APP)
        consumer.assign([Partition(topic, shard, 0) for shard in range(self._settings.shards)])
        while not self._stop.is_set():
            for message in consumer.consume(1_000, 0.02):
                if not message.error():
                    report_id = json.loads(message.value() or b"")["report_id"]
                    self._latency_s.setdefault(report_id, time.monotonic() - self._sent_s[report_id])
        consumer.close()
