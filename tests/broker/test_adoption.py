"""A source that is not what it was stops alone, and goes on by one command; what was lost is named.

On a real broker, with an intake worker that runs all the time.
"""

import json
from collections import Counter

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from schemas.limits import OFFSET_MAX
from schemas.topics import COMMANDS, intake_topic, outcomes_topic, topic_specs
from schemas.verdicts import CODES
from stream.operate.platform.kafka_admin import admin_client
from tests.broker.traffic import send

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
METRO, BUS = intake_topic("metro"), intake_topic("bus")


def say(platform, app: str, first: int, count: int) -> None:
    producer = platform.producer(f"app-{app}")
    send(producer, app, first, count)
    assert producer.flush(30) == 0


def verdicts(platform, app: str) -> Counter:
    """How many records of the app got each verdict; a range of lost ones counts as one."""
    return Counter(
        CODES[row["verdict"]]
        for block in platform.accepted()
        for row in block.rows.select(["verdict", "source"]).to_pylist()
        if row["source"] >= 0 and block.meta.sources[row["source"]].topic == intake_topic(app)
    )


def stops(platform, topic: str, text: str) -> None:
    """A worker says that the source stopped, and what to do."""

    def said() -> bool:
        log = platform.logs_of("intake")
        return text in log and (f"points topics adopt {topic}" in log or topic in log)

    platform.wait_for(said)


def make_again(platform, topic: str) -> None:
    """As an operator would who wants it empty: deletes the topic, and makes it with the same settings."""
    admin = admin_client(platform.settings)
    admin.delete_topics([topic])[topic].result(30)
    platform.wait_for(lambda: topic not in admin.list_topics(timeout=10).topics)
    [spec] = [s for s in topic_specs(platform.settings.shards, ["metro", "bus"]) if s.name == topic]
    admin.create_topics([NewTopic(topic, spec.partitions, 1, config=spec.config)])[topic].result(30)
    platform.wait_for(lambda: topic in admin.list_topics(timeout=10).topics)


def delete_unread(platform, topic: str) -> None:
    """Deletes all that stands in a topic."""
    admin: AdminClient = admin_client(platform.settings)
    everything = [TopicPartition(topic, p, -1) for p in range(platform.settings.shards)]
    for deleted in admin.delete_records(everything).values():
        deleted.result(30)


def told(platform, app: str, verdict: str) -> list[dict]:
    """The outcomes with a verdict that the app finds in its topic."""
    consumer = Consumer(
        platform.settings.librdkafka(f"app-{app}")
        | {"group.id": f"app-{app}.test", "enable.auto.commit": False, "enable.partition.eof": True}
    )
    shards = range(platform.settings.shards)
    consumer.assign([TopicPartition(outcomes_topic(app), p, 0) for p in shards])
    found, ended = [], set()
    while len(ended) < len(shards):
        message = consumer.poll(20)
        assert message is not None, "the broker does not answer"
        if message.error():
            ended.add(message.partition())
        else:
            found.append(json.loads(message.value()))
    consumer.close()
    return [outcome for outcome in found if outcome["verdict"] == verdict]


@pytest.fixture
def decided(platform):
    """A platform whose worker runs and has decided 400 records of each of two apps."""
    for app in ("metro", "bus"):
        say(platform, app, 0, 400)
    platform.worker()
    platform.wait_until_decided(800)
    return platform


def test_a_topic_made_again_stops_alone_and_goes_on_by_one_command(decided, points) -> None:
    assert "nothing to adopt" in points("topics", "adopt", METRO, "--yes")
    old = json.loads(points("topics", "list", "--json"))
    assert {entry["state"] for entry in old} == {"goes on"}
    [old_id] = {entry["topic_id"] for entry in old if entry["topic"] == METRO}

    make_again(decided, METRO)
    say(decided, "metro", 1_000, 400)  # as many as were decided: positions alone do not tell
    say(decided, "bus", 400, 400)
    decided.wait_for(lambda: verdicts(decided, "bus")["credited"] == 800)  # the other goes on meanwhile
    stops(decided, METRO, "made_again")
    assert verdicts(decided, "metro") == {"credited": 400}, "decided before the adoption"

    dry = points("topics", "adopt", METRO, "--dry-run")
    assert dry.count("lost: all from offset") == decided.settings.shards
    assert verdicts(decided, "metro") == {"credited": 400}
    assert "goes on in every shard" in points(
        "topics", "adopt", METRO, "--yes", "--by", "li", "--reason", "disk"
    )
    decided.wait_for(lambda: verdicts(decided, "metro")["credited"] == 800)
    lost = told(decided, "metro", "deleted_unread")
    assert {(o["topic_id"], o["last_offset"]) for o in lost} == {(old_id, OFFSET_MAX)}
    assert len(lost) == decided.settings.shards
    assert [worker.poll() for worker in decided._workers] == [None], "a worker was restarted"


def test_records_deleted_unread_stop_their_app_alone_and_are_named(decided, points) -> None:
    decided.end_workers()
    say(decided, "metro", 400, 200)
    delete_unread(decided, METRO)
    decided.worker()
    say(decided, "metro", 800, 100)
    say(decided, "bus", 400, 100)
    decided.wait_for(lambda: verdicts(decided, "bus")["credited"] == 500)
    stops(decided, METRO, "deleted_unread")
    assert "goes on in every shard" in points("topics", "adopt", METRO, "--yes")
    decided.wait_for(lambda: verdicts(decided, "metro")["credited"] == 500)
    lost = told(decided, "metro", "deleted_unread")
    assert sum(o["last_offset"] - o["offset"] + 1 for o in lost) == 200


def test_commands_made_again_is_adopted_and_the_registry_said_again(decided, points) -> None:
    make_again(decided, COMMANDS)
    points("app", "suspend", "bus")  # said into the new topic: nobody reads it before the adoption
    stops(decided, COMMANDS, "points topics adopt commands")
    assert "goes on in every shard" in points("topics", "adopt", COMMANDS, "--yes")
    assert "in force in all 4 shards" in points("app", "suspend", "bus")
    say(decided, "metro", 400, 100)
    say(decided, "bus", 400, 100)
    decided.wait_for(lambda: verdicts(decided, "bus")["app_not_active"] == 100)
    decided.wait_for(lambda: verdicts(decided, "metro")["credited"] == 500)


def test_a_topic_that_is_missing_is_made_by_its_adoption(decided, points) -> None:
    admin = admin_client(decided.settings)
    admin.delete_topics([METRO])[METRO].result(30)
    stops(decided, METRO, "missing")
    assert "would be made" in points("topics", "adopt", METRO, "--dry-run")
    assert "was missing: it is made" in points("topics", "adopt", METRO, "--yes")
    say(decided, "metro", 400, 100)
    decided.wait_for(lambda: verdicts(decided, "metro")["credited"] == 500)


def test_a_partition_too_many_is_not_read_and_nobody_else_notices(decided, points) -> None:
    admin = admin_client(decided.settings)
    admin.create_partitions([NewPartitions(METRO, 5)])[METRO].result(30)
    decided.worker()  # its topics are assigned together all the same
    decided.wait_for(lambda: "partitions that are no shard's" in decided.logs_of("intake"))
    producer = decided.producer("app-metro")
    producer.produce(METRO, b"{}", partition=4)
    assert producer.flush(30) == 0
    for app in ("metro", "bus"):
        say(decided, app, 400, 100)
    decided.wait_for(lambda: verdicts(decided, "bus")["credited"] == 500)
    read = sum(n for (topic, *_), n in decided.committed_records().items() if topic == METRO)
    assert 400 < read < 500
    decided.wait_for(lambda: sum(verdicts(decided, "metro").values()) == read)
    assert "5 partitions, not 4: what lies in 4 is not read" in points("topics", "list")
    assert "what lies in 4 is not read" in " ".join(points("doctor").split())
    points("up")
