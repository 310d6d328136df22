"""`points app suspend --now`: who is connected is refused with the next request; `resume` lets the app in."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.topics import intake_topic, outcomes_topic
from tests.broker.traffic import send

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
REFUSED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
WITHIN_S = 10.0


def points(platform, *arguments: str) -> str:
    done = subprocess.run(
        [Path(sys.executable).parent / "points", *arguments],
        env={"POINTS_HOME": str(platform.settings.home), "COLUMNS": "200", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answer_to(producer) -> KafkaError | None:
    """What the broker says to one more record."""
    told: list[KafkaError | None] = []
    try:
        producer.produce(intake_topic("metro"), b"{}", on_delivery=lambda error, _: told.append(error))
    except KafkaException as error:  # the client has heard already that it may not
        return error.args[0]
    assert producer.flush(30) == 0
    return told[0]


def logs_in(settings) -> bool:
    try:
        AdminClient({**settings.librdkafka("app-metro"), "log_level": 0}).list_topics(timeout=5)
    except KafkaException:
        return False
    return True


def test_an_open_producer_and_an_open_consumer_are_refused_within_seconds(platform) -> None:
    platform.worker()
    producer = platform.producer("app-metro", acks="all")
    consumer = Consumer({**platform.settings.librdkafka("app-metro"), "group.id": "app-metro"})
    consumer.assign([TopicPartition(outcomes_topic("metro"), shard, 0) for shard in range(4)])
    send(producer, "metro", 0, 100)
    assert producer.flush(30) == 0
    assert consumer.poll(30) is not None
    platform.wait_until_decided(100)

    began_s = time.monotonic()
    told = points(platform, "app", "suspend", "--now", "metro")
    while (answer := answer_to(producer)) is None:
        assert time.monotonic() < began_s + WITHIN_S
    assert answer.code() in REFUSED
    platform.wait_for(lambda: is_refused(consumer), WITHIN_S)
    assert not logs_in(platform.settings)
    assert "metro may do nothing on Kafka any more" in told
    assert "suspended shut out" in points(platform, "app", "list")
    consumer.close()

    told = points(platform, "app", "resume", "metro")
    password = told.split("KAFKA_PASSWORD=")[1].split()[0]
    settings = platform.settings.with_password("app-metro", password)
    platform.wait_for(lambda: logs_in(settings), WITHIN_S)
    platform.settings = settings
    producer = platform.producer("app-metro", acks="all")
    send(producer, "metro", 100, 50)
    assert producer.flush(30) == 0, "all rights are back"
    platform.wait_until_decided(150)
    assert "shut out" not in points(platform, "app", "list")


def is_refused(consumer: Consumer) -> bool:
    """Whether the broker said so, behind outcomes that it had sent before."""
    errors = [message.error() for message in consumer.consume(1_000, 0.1) if message.error()]
    return any(error.code() in REFUSED for error in errors)
