"""A worker that is stopped, or gives shards away, leaves nothing unpublished: no outcome comes again."""

import signal
from collections import Counter

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.broker.traffic import send

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


def outcomes(platform) -> Counter:
    """How often each outcome is on the broker."""
    kafka = platform.settings.librdkafka("app-metro") | {"enable.partition.eof": True}
    consumer = Consumer({**kafka, "group.id": "app-metro", "enable.auto.commit": False})
    consumer.assign([TopicPartition("outcomes.metro", p, 0) for p in range(platform.settings.shards)])
    found: Counter = Counter()
    ended = 0
    while ended < platform.settings.shards:
        message = consumer.poll(20)
        assert message is not None
        if message.error():
            ended += 1
        else:
            found[message.value()] += 1
    consumer.close()
    return found


def test_no_outcome_comes_again_after_a_clean_stop_or_a_rebalance(platform) -> None:
    producer = platform.producer("app-metro")

    def decide(first: int) -> None:
        send(producer, "metro", first, 500)
        producer.flush()
        platform.wait_until_decided(first + 500)
        platform.wait_for(lambda: len(outcomes(platform)) == first + 500)

    shards = platform.settings.shards
    first = platform.worker()
    decide(0)
    first.send_signal(signal.SIGTERM)
    assert first.wait(15) == 0
    second = platform.worker()
    platform.wait_for(lambda: platform.logs().count("shard ready") == 2 * shards)
    assert set(outcomes(platform).values()) == {1}

    platform.worker()  # joins: the second one gives its shards away
    platform.wait_for(lambda: platform.logs().count("shard ready") >= 3 * shards)
    decide(500)
    assert second.poll() is None
    assert set(outcomes(platform).values()) == {1}
