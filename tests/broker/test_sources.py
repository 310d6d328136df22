"""Sources that are not what they were: the worker halts and says so; nothing is skipped or decided twice."""

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.topics import intake_topic
from tests.broker.traffic import send

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
METRO = intake_topic("metro")


@pytest.fixture
def decided(platform):
    """A platform that has decided 400 records, with no worker running."""
    producer = platform.producer("app-metro")
    send(producer, "metro", 0, 400)
    producer.flush()
    platform.worker()
    platform.wait_until_decided(400)
    platform.end_workers()
    return platform


def halts_and_says(platform, text: str) -> None:
    send_more = platform.producer("app-metro")
    send(send_more, "metro", 800, 100)
    send_more.flush()
    assert platform.worker().wait(60) == 1
    assert text in platform.logs().replace("\n", " ")


def test_records_deleted_before_they_were_read(decided) -> None:
    producer = decided.producer("app-metro")
    send(producer, "metro", 400, 200)
    producer.flush()
    admin = AdminClient(decided.settings.librdkafka("admin"))
    everything = [TopicPartition(METRO, p, -1) for p in range(decided.settings.shards)]
    for deleted in admin.delete_records(everything).values():
        deleted.result(30)
    halts_and_says(decided, "were deleted unread")


def test_a_topic_made_again(decided) -> None:
    admin = AdminClient(decided.settings.librdkafka("admin"))
    admin.delete_topics([METRO])[METRO].result(30)
    decided.wait_for(lambda: METRO not in admin.list_topics(timeout=10).topics)
    admin.create_topics([NewTopic(METRO, decided.settings.shards, 1)])[METRO].result(30)
    halts_and_says(decided, "the topic was deleted and made again")
