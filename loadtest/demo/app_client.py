"""One app as the platform meets it: produces with its own credentials, reads its own outcomes."""

from functools import partial
from typing import Any, NamedTuple

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as Partition

from loadtest.demo.figures import Summing
from loadtest.demo.generator import Record
from schemas.topics import intake_topic, outcomes_topic
from sinks.app_client.topics import place_of
from stream.errors import OperatorError
from stream.operate.platform.onboarding import app_principal
from stream.settings import Settings

FLUSH_TIMEOUT_S = 60.0


class Outcome(NamedTuple):
    """One outcome as the app got it. `place` is (shard, seq, row), its place in the ledger."""

    app: str
    place: tuple[int, int, int]
    verdict: str
    detail: str
    report_id: str  # '' where the platform could not read one
    uid: str
    reduction_mg: int
    points_milli: int
    balance_milli: int
    expires_on: str


class AppClient:
    """`sent` and `outcomes` are keyed by (partition, offset): refused records have no other name."""

    def __init__(self, settings: Settings, app: str) -> None:
        self.app = app
        self.sent: dict[tuple[int, int], Record] = {}
        self.outcomes: dict[tuple[int, int], Outcome] = {}
        self._topic = intake_topic(app)
        self._places: set[tuple[int, int, int]] = set()
        credentials = settings.librdkafka(app_principal(app))
        self._producer = Producer(
            credentials
            | {
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 5,
            }
        )
        self._consumer = Consumer(
            credentials
            | {"group.id": app_principal(app), "enable.auto.commit": False, "fetch.wait.max.ms": 50}
        )
        shards = range(settings.shards)
        self._consumer.assign([Partition(outcomes_topic(app), p, OFFSET_BEGINNING) for p in shards])

    @property
    def unanswered(self) -> int:
        """Records that the broker has, without an outcome so far."""
        return len(self.sent) - len(self.outcomes)

    def send(self, record: Record) -> None:
        """Hands a record to the producer, which sends it within 5 ms."""
        arguments: dict[str, Any] = {} if record.partition is None else {"partition": record.partition}
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    record.value,
                    record.uid.encode(),
                    on_delivery=partial(self._delivered, record),
                    **arguments,
                )
            except BufferError:
                self._producer.poll(0.1)
                continue
            return

    def flush(self) -> None:
        """Returns once the broker has all that was sent. Raises OperatorError."""
        if left := self._producer.flush(FLUSH_TIMEOUT_S):
            raise OperatorError(
                f"Kafka did not take {left:,} records of {self.app} within {FLUSH_TIMEOUT_S:.0f} s.",
                "look at logs/kafka.log in the data folder, then run the demo again.",
            )

    def collect(self, timeout_s: float = 0.0) -> int:
        """The number of records whose first outcome came by now. Outcomes come at least once."""
        self._producer.poll(0)
        before = len(self.outcomes)
        for message in self._consumer.consume(10_000, timeout_s):
            if message.error():
                raise KafkaException(message.error())
            o = orjson.loads(message.value() or b"")
            place = (o["shard"], o["seq"], o["row"])
            if place in self._places:
                continue
            self._places.add(place)
            record = (o["partition"], o["offset"])
            if record in self.outcomes:
                raise OperatorError(
                    f"The record at {self._topic} {record} was decided twice: in (shard, seq, row) {place} "
                    f"and {self.outcomes[record].place}.",
                    "keep the data folder: this is a defect of the platform.",
                )
            self.outcomes[record] = Outcome(
                self.app,
                place,
                o["verdict"],
                o["detail"],
                o["report_id"],
                (message.key() or b"").decode(),
                o["reduction_mg"],
                o["points_milli"],
                o["balance_milli"],
                o["expires_on"],
            )
        return len(self.outcomes) - before

    def check_none_strayed(self) -> None:
        """Raises OperatorError if an outcome came for a record that was never sent."""
        if stray := self.outcomes.keys() - self.sent.keys():
            raise OperatorError(
                f"{self.app} got an outcome for a record it never sent: partition, offset {min(stray)}.",
                f"somebody else writes {self._topic}: run the demo in a folder of its own.",
            )

    def add_outcomes(self, sums: Summing) -> None:
        """Adds all that this app was told to `sums`."""
        for o in self.outcomes.values():
            sums.add(o.app, o.verdict, o.uid, o.expires_on, o.reduction_mg, o.points_milli)

    def close(self) -> None:
        """Leaves the broker."""
        self._consumer.close()
        del self._producer  # librdkafka's threads end with it, before the broker does

    def _delivered(self, record: Record, error: KafkaError | None, message: Message) -> None:
        if error:
            raise KafkaException(error)
        self.sent[place_of(message)] = record
