"""Whether this machine's clock is the broker's. The broker's orders records and makes the shards' time; this
machine's dates first blocks, tells a broker that is ahead, and shows how old things are."""

import time

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.limits import BROKER_AHEAD_MS_MAX
from schemas.topics import CLOCK
from stream.errors import OperatorError
from stream.settings import Settings

ANSWER_TIMEOUT_S = 10.0


def check_clock(settings: Settings, principal: str) -> None:
    """Raises OperatorError if the clocks are more than an hour apart, or if the broker does not say."""
    ahead_ms = broker_ahead_ms(settings, principal)
    if abs(ahead_ms) > BROKER_AHEAD_MS_MAX:
        raise OperatorError(
            f"This machine's clock is {difference(-ahead_ms)} the broker's.",
            "set both by NTP, then start again; see docs/runbook.md, clocks differ.",
        )


def broker_ahead_ms(settings: Settings, principal: str) -> int:
    """How far the brokers' clocks are ahead of this machine's, negative if behind; of several, the worst.

    0 if it cannot be told from the time that the answer took. Writes an empty record to topic `clock`, one
    for each broker that leads a part of it: no other answer of a broker tells its time.
    """
    producer = Producer({**settings.librdkafka(principal), "acks": "all", "linger.ms": 0, "log_level": 0})
    try:
        partitions = producer.list_topics(CLOCK, timeout=ANSWER_TIMEOUT_S).topics[CLOCK].partitions
        found = [_ahead_ms(producer, p.id) for p in {p.leader: p for p in partitions.values()}.values()]
    except KafkaException as error:
        raise OperatorError(
            f"Kafka at {settings.kafka_bootstrap} does not tell its time: {error.args[0].str()}.",
            "run `points up`, which makes topic `clock`.",
        ) from error
    return max(found, key=abs, default=0)


def now_ms() -> int:
    """This machine's clock."""
    return time.time_ns() // 1_000_000


def difference(ms: int) -> str:
    """How far one clock is from another, in words: `3.0 hours ahead of`."""
    size_s = abs(ms) / 1_000
    amount = f"{size_s / 3_600:.1f} hours" if size_s >= 3_600 else f"{size_s / 60:.1f} minutes"
    return f"{amount if size_s >= 60 else f'{size_s:.1f} s'} {'ahead of' if ms > 0 else 'behind'}"


def outside_ms(time_ms: int, from_ms: int, to_ms: int) -> int:
    """How far a time that was read between two others lies beyond them; 0 in between."""
    return max(time_ms - to_ms, 0) or min(time_ms - from_ms, 0)


def _ahead_ms(producer: Producer, partition: int) -> int:
    answers: list[tuple[KafkaError | None, Message]] = []
    from_ms = now_ms()
    producer.produce(CLOCK, b"", partition=partition, on_delivery=lambda *answer: answers.append(answer))
    producer.flush(ANSWER_TIMEOUT_S)
    to_ms = now_ms()
    error, message = answers[0] if answers else (KafkaError(KafkaError._TIMED_OUT), None)
    if error or message is None:
        raise KafkaException(error)
    return outside_ms(message.timestamp()[1], from_ms, to_ms)
