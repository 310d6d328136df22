"""A quota holds the app that it is set for, and no other: the broker itself says whom it slows down."""

import pytest
from confluent_kafka import Producer

from loadtest.apps import QUOTA
from schemas.kinds.app import App
from schemas.topics import intake_topic
from stream.operate.platform.kafka_quota import Quota
from stream.operate.platform.onboarding import app_principal, onboard
from stream.settings import Settings

pytestmark = pytest.mark.stack
TIGHT = Quota(produce_bytes_s=2_000, consume_bytes_s=2_000, request_percent=50)


def throttled_ms(settings: Settings, app: str) -> list[int]:
    """For how long the broker made the app wait with its next request, each time that it did."""
    told: list[int] = []
    producer = Producer(
        {
            **settings.librdkafka(app_principal(app)),
            "throttle_cb": lambda event: told.append(int(event.throttle_time * 1000)),
            "acks": "all",
        }
    )
    for _ in range(5):
        producer.produce(intake_topic(app), bytes(2_000))
        assert producer.flush(30) == 0, "slowed down, and not refused"
        producer.poll(0)
    return [ms for ms in told if ms]


def test_an_app_beyond_its_quota_waits_and_another_does_not(stack: Settings) -> None:
    held, free = App("held", "held", ["SZ-METRO"]), App("free", "free", ["SZ-METRO"])
    settings = onboard(onboard(stack, held, TIGHT), free, QUOTA)
    assert throttled_ms(settings, held.id)
    assert not throttled_ms(settings, free.id)
