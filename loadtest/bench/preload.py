"""Fills topics before anything is measured, as apps would: their own credentials, idempotent, lz4."""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as Partition
from confluent_kafka.admin import OffsetSpec

from loadtest.bench.reports import Record
from stream.errors import OperatorError
from stream.operate.platform.kafka_admin import admin_client
from stream.settings import Settings

STEP_RECORDS = 2_000
LINGER_MS = 20  # full batches, as of an app that is behind
FULL_TIMEOUT_S = 60.0
FLUSH_TIMEOUT_S = 60.0
_LOOK_AT_LOG = "look into the broker's log in the folder of the bench, then run the bench again."


def preload(
    client: Callable[[str], dict],
    records: Iterable[Record],
    destinations: dict[str, tuple[str, str]],
    on_sent: Callable[[int], None],
) -> None:
    """Sends all records, those of an app to `destinations[app]`: (principal, topic). `client`: how librdkafka
    logs in as a principal.

    Raises OperatorError if the broker refuses a record or does not take it in time.
    """
    failures: list[KafkaError] = []
    producers = {
        principal: producer_of(client(principal), failures, LINGER_MS)
        for principal in {principal for principal, _ in destinations.values()}
    }
    routes = {app: (producers[principal], topic) for app, (principal, topic) in destinations.items()}
    for number, (app, key, value) in enumerate(records, 1):
        send(*routes[app], key, value)
        if number % STEP_RECORDS == 0:
            for producer in producers.values():
                producer.poll(0)
            refuse(failures)
            on_sent(STEP_RECORDS)
    for producer in producers.values():
        if left := producer.flush(FLUSH_TIMEOUT_S):
            raise OperatorError(
                f"Kafka did not take {left} records in {FLUSH_TIMEOUT_S:.0f} s.", _LOOK_AT_LOG
            )
    refuse(failures)


def end_offsets(settings: Settings, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """The end of every partition of these topics, by (topic, partition)."""
    admin = admin_client(settings)
    asked = {Partition(topic, p): OffsetSpec.latest() for topic in topics for p in range(settings.shards)}
    answers = admin.list_offsets(asked, request_timeout=30)
    return {(p.topic, p.partition): answer.result().offset for p, answer in answers.items()}


def producer_of(client: dict, failures: list[KafkaError], linger_ms: int) -> Producer:
    """A producer as apps have one; what the broker refuses is appended to `failures`."""

    def on_delivery(error: KafkaError | None, _: Message) -> None:
        if error:
            failures.append(error)

    return Producer(
        {
            **client,
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": linger_ms,
            "delivery.report.only.error": True,
            "on_delivery": on_delivery,
        }
    )


def send(producer: Producer, topic: str, key: str, value: bytes) -> None:
    """Hands over one record, and waits for room. Raises OperatorError if there is none for long."""
    deadline_s = time.monotonic() + FULL_TIMEOUT_S
    while True:
        try:
            producer.produce(topic, value, key)
        except BufferError as error:
            if time.monotonic() > deadline_s:
                raise OperatorError(
                    f"Kafka took nothing for {FULL_TIMEOUT_S:.0f} s.", _LOOK_AT_LOG
                ) from error
            producer.poll(0.1)
        except KafkaException as error:
            raise OperatorError(f"Kafka refused a record: {error.args[0].str()}.", _LOOK_AT_LOG) from error
        else:
            return


def refuse(failures: list[KafkaError]) -> None:
    """Raises OperatorError if the broker refused a record."""
    if failures:
        raise OperatorError(f"Kafka refused a record: {failures[0].str()}.", _LOOK_AT_LOG)
