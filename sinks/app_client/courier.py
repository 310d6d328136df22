"""Between the outbox and Kafka: one thread that sends what is due and follows the outcomes.

Everything that goes wrong ends the session, and the next one begins as after a crash: from the file.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from schemas.shards import shards_of
from sinks.app_client.errors import ClientError
from sinks.app_client.outbox import Arrived, Delivered, Outbox, Outcomes
from sinks.app_client.records import Record
from sinks.app_client.standing import decode_outcome
from sinks.app_client.topics import CONNECT_TIMEOUT_S, Ids, Topics, place_of

log = logging.getLogger("points.app_client")
# At once. To note 1,000 records as sent takes the outbox some 10 ms, as many outcomes 30 ms, and a `report`
# may have to wait for that.
SEND_MAX = 1_000
FOLLOW_MAX = 1_000
POLL_S = 0.05  # how long a record that is handed over may wait for the thread to look
DELIVERY_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 5.0  # for what is in flight when the client is closed
BACKOFF_MAX_S = 30.0


class Courier(threading.Thread):
    """Runs until `stop`; calls `tell` after each step that may have brought answers. `trouble` is what stood
    in the way last, '' once something has worked again."""

    def __init__(self, app: str, kafka: dict[str, Any], outbox: Outbox, tell: Callable[[], None]) -> None:
        super().__init__(name=f"points-{app}", daemon=True)
        self._app = app
        self._kafka = kafka | {"error_cb": self._on_error, "log_level": 0}
        self._group = f"{kafka['sasl.username']}.client"  # only a name: offsets are kept in the outbox
        self._outbox, self._tell = outbox, tell
        self._stopping = threading.Event()
        self._failures = 0
        self._cause = ""  # of this session's failure, as librdkafka tells it
        self.trouble = ""

    def stop(self) -> None:
        """Ends the thread within some seconds; what is not sent stays in the outbox."""
        self._stopping.set()
        self.join()

    def run(self) -> None:
        """One session after another, with growing pauses between those that fail."""
        while not self._stopping.is_set():
            self._cause = ""
            try:
                self._session()
            except Exception as error:
                known = isinstance(error, KafkaException | ClientError)
                self.trouble = self._cause or _said(error)
                log.warning("cannot go on now: %s", self.trouble, exc_info=None if known else error)
                self._stopping.wait(min(2.0**self._failures, BACKOFF_MAX_S))
                self._failures += 1

    def _session(self) -> None:
        consumer = Consumer(
            self._kafka | {"group.id": self._group, "enable.auto.commit": False, "auto.offset.reset": "error"}
        )
        producer = Producer(
            self._kafka
            | {"acks": "all", "enable.idempotence": True}
            | {"message.timeout.ms": int(DELIVERY_TIMEOUT_S * 1_000), "compression.type": "lz4"}
        )
        try:
            topics = Topics(self._kafka, self._app)
            cluster_id, ids, shards = topics.cluster_id(), topics.ids(), topics.shards()
            outcomes = Outcomes(cluster_id, ids.outcomes, _bounds(consumer, topics.outcomes, shards))
            starts = self._outbox.begin_session(outcomes, _now_ms())
            consumer.assign([TopicPartition(topics.outcomes, *start) for start in starts.items()])
            self._failures, self.trouble = 0, ""
            self._tell()
            while not self._stopping.is_set():
                if self._send(producer, topics, ids, shards) + self._follow(consumer, topics, ids):
                    self._tell()
        finally:
            consumer.poll(0)  # serves `_on_error`, which knows causes such as a wrong password
            consumer.close()
            producer.purge()  # what was still in flight is in doubt now: this session shall not send it later
            producer.flush(1)

    def _send(self, producer: Producer, topics: Topics, ids: Ids, shards: int) -> int:
        """Sends what is due, and waits until the broker has told what became of each."""
        batch = self._outbox.take_due(_now_ms(), SEND_MAX)
        if not batch:
            return 0
        delivered: list[Delivered] = []
        failed: list[str] = []

        def settled(record: Record, error: KafkaError | None, message: Message) -> None:
            if error:
                self.trouble = error.str()
                failed.append(record.report_id)
            else:
                delivered.append(Delivered(ids.intake, *place_of(message), record.report_id))

        for record, shard in zip(batch, shards_of([record.uid for record in batch], shards), strict=True):
            producer.produce(
                topics.intake, record.value, record.uid, shard, on_delivery=partial(settled, record)
            )
        end_s = None
        while len(delivered) + len(failed) < len(batch):
            producer.poll(POLL_S)
            if self._stopping.is_set():
                end_s = end_s or time.monotonic() + CLOSE_TIMEOUT_S
                if time.monotonic() > end_s:
                    break  # the rest stays in flight, and so in doubt
        if delivered:
            _check_same(topics, ids)  # else all stay in flight: nobody knows which is in which topic
            self.trouble = ""
        self._outbox.end_flight(delivered, failed, _now_ms())
        return len(batch)

    def _follow(self, consumer: Consumer, topics: Topics, ids: Ids) -> int:
        """Applies the outcomes that are there; waits a moment for the first."""
        messages = consumer.consume(1, POLL_S)
        if not messages:
            return 0
        messages += consumer.consume(FOLLOW_MAX - 1, 0)
        if errors := [message.error() for message in messages if message.error()]:
            raise KafkaException(errors[0])
        _check_same(topics, ids)
        self._outbox.follow([_arrived(message) for message in messages], _now_ms())
        self.trouble = ""
        return len(messages)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # it comes after its cause
            self.trouble = self._cause = error.str()


def _bounds(consumer: Consumer, topic: str, shards: int) -> dict[int, tuple[int, int]]:
    """Where each partition of the outcomes begins and ends."""
    return {
        shard: consumer.get_watermark_offsets(
            TopicPartition(topic, shard), timeout=CONNECT_TIMEOUT_S, cached=False
        )
        for shard in range(shards)
    }


def _check_same(topics: Topics, ids: Ids) -> None:
    """Raises ClientError, which ends the session, if a topic was made again in it."""
    if topics.ids() != ids:
        raise ClientError("a topic of this app was made again: its offsets are others")


def _arrived(message: Message) -> Arrived:
    value = message.value() or b""
    try:
        outcome = decode_outcome(value)
    except msgspec.DecodeError as error:
        raise ClientError("an outcome is of a form that this client does not know: update it") from error
    return Arrived(*place_of(message), (message.key() or b"").decode(), outcome, value)


def _said(error: Exception) -> str:
    """What an error may show: of an unexpected one only its type, as its text may hold a value."""
    if isinstance(error, KafkaException):
        return error.args[0].str()
    return str(error) if isinstance(error, ClientError) else type(error).__name__


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
