"""What a Kafka user may not do, tried on the real broker: the app is known from the topic it may write."""

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from schemas import limits
from stream.settings import Settings

pytestmark = pytest.mark.stack
REFUSED = KafkaError.TOPIC_AUTHORIZATION_FAILED
TOO_LARGE_BYTES = limits.BLOCK_BYTES_MAX + (512 << 10)  # and still no larger than a request may be


def written(stack: Settings, principal: str, topic: str) -> KafkaError:
    """Write a record too large for any topic: who may write is told so, and no other test finds it."""
    outcomes = []
    # Idempotent, as apps are told to be: the right must be part of WRITE.
    settings = {"enable.idempotence": True, "message.max.bytes": 2 * TOO_LARGE_BYTES, "log_level": 0}
    producer = Producer({**stack.librdkafka(principal), **settings})
    record = bytes(TOO_LARGE_BYTES)
    try:
        producer.produce(topic, value=record, on_delivery=lambda error, _: outcomes.append(error))
        producer.flush(20)
    except (
        KafkaException
    ) as error:  # not even sent; or no id for an idempotent producer that may write nowhere
        return error.args[0]
    assert outcomes, f"{principal} got no answer about {topic}"
    return outcomes[0]


def read_error(stack: Settings, principal: str, topic: str) -> int | None:
    """Read a partition from its start; None if a record or its end is reached, else the error's code."""
    settings = {"group.id": principal, "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer({**stack.librdkafka(principal), **settings, "log_level": 0})
    try:
        # The right to read includes the right to see; for what it cannot see, a consumer waits for ever.
        if unseen := consumer.list_topics(topic, timeout=20).topics[topic].error:
            return unseen.code()
        consumer.assign([TopicPartition(topic, 0, 0)])
        message = consumer.poll(30)
    finally:
        consumer.close()
    assert message is not None, f"{principal} got no answer about {topic}"
    error = message.error()
    return error.code() if error and error.code() != KafkaError._PARTITION_EOF else None


def commit_error(stack: Settings, principal: str, group: str, topic: str) -> int | None:
    """Commit an offset in `group`; None if that is allowed, else the error's code."""
    admin = AdminClient({**stack.librdkafka(principal), "log_level": 0})
    positions = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 0)])
    (answer,) = admin.alter_consumer_group_offsets([positions], request_timeout=20).values()
    try:
        answer.result()
    except KafkaException as error:
        return error.args[0].code()
    return None


@pytest.mark.parametrize(
    ("principal", "topic"),
    [
        ("app-metro", "intake.metro"),
        ("intake", "ledger"),
        ("intake", "outcomes.bus"),
        ("intake", "dead-letters"),
        ("admin", "commands"),
    ],
)
def test_writes_what_it_may(stack: Settings, principal: str, topic: str) -> None:
    assert written(stack, principal, topic).code() == KafkaError.MSG_SIZE_TOO_LARGE


@pytest.mark.parametrize(
    ("principal", "topic"),
    [
        ("app-metro", "intake.bus"),
        ("app-metro", "outcomes.metro"),
        ("app-metro", "ledger"),
        ("app-metro", "commands"),
        ("app-metro", "dead-letters"),
        ("intake", "intake.metro"),
        ("intake", "commands"),
        ("archive", "ledger"),
        ("archive", "intake.metro"),
    ],
)
def test_write_is_refused(stack: Settings, principal: str, topic: str) -> None:
    assert written(stack, principal, topic).code() in (REFUSED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


@pytest.mark.parametrize(
    ("principal", "topic"),
    [
        ("app-metro", "outcomes.metro"),
        ("intake", "intake.bus"),
        ("intake", "commands"),
        ("intake", "ledger"),
        ("archive", "ledger"),
    ],
)
def test_reads_what_it_may(stack: Settings, principal: str, topic: str) -> None:
    assert read_error(stack, principal, topic) is None


@pytest.mark.parametrize(
    ("principal", "topic"),
    [
        ("app-metro", "outcomes.bus"),
        ("app-metro", "intake.metro"),
        ("app-metro", "ledger"),
        ("app-metro", "commands"),
        ("app-metro", "dead-letters"),
        ("archive", "outcomes.metro"),
    ],
)
def test_read_is_refused(stack: Settings, principal: str, topic: str) -> None:
    assert read_error(stack, principal, topic) == REFUSED


@pytest.mark.parametrize(
    ("principal", "group", "topic"),
    [
        ("app-metro", "app-metro", "outcomes.metro"),
        ("app-metro", "app-metro.reports", "outcomes.metro"),
        ("intake", "intake", "intake.bus"),
        ("archive", "archive", "ledger"),
    ],
)
def test_commits_in_its_groups(stack: Settings, principal: str, group: str, topic: str) -> None:
    assert commit_error(stack, principal, group, topic) is None


@pytest.mark.parametrize(
    ("principal", "group", "topic"),
    [
        ("app-metro", "app-bus", "outcomes.metro"),
        ("app-metro", "app-metropolis", "outcomes.metro"),
        ("archive", "intake", "ledger"),
    ],
)
def test_group_of_others_is_refused(stack: Settings, principal: str, group: str, topic: str) -> None:
    assert commit_error(stack, principal, group, topic) == KafkaError.GROUP_AUTHORIZATION_FAILED


def test_app_sees_its_own_topics_only(stack: Settings) -> None:
    seen = AdminClient(stack.librdkafka("app-metro")).list_topics(timeout=10).topics
    assert sorted(seen) == ["intake.metro", "outcomes.metro"]


def test_wrong_password_and_no_password_are_refused(stack: Settings) -> None:
    wrong = {**stack.librdkafka("admin"), "sasl.password": "guess"}
    nobody = {"bootstrap.servers": stack.kafka_bootstrap}
    for configuration in (wrong, nobody):
        with pytest.raises(KafkaException):
            AdminClient({**configuration, "log_level": 0}).list_topics(timeout=3)
