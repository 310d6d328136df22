"""The client on a real broker with a real worker."""

import asyncio
import datetime as dt
import time

import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas.command import encode_command
from schemas.kinds.adopt import AdoptCommand
from schemas.topics import COMMANDS, app_topic_specs
from sinks.app_client import Answer, AppClient, AsyncAppClient, Standing, standing
from sinks.kafka_topics import topic_ids
from stream.operate.platform import onboarding
from stream.operate.platform.kafka_admin import admin_client, make_topics
from tests.app_client.an_app import behaviour

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(minutes=1)
WAIT_S = 60


@pytest.fixture
def login(platform) -> dict:
    settings = platform.settings
    return {
        "bootstrap": settings.kafka_apps_bootstrap,
        "password": settings.password("app-metro"),
        "mechanism": settings.kafka_sasl_mechanism,
        "security": settings.kafka_security,
    }


def test_answers_come_to_those_who_wait_and_to_the_callback_once(platform, login, outbox_path) -> None:
    told: list[Answer] = []
    with AppClient("metro", outbox_path, **login, on_outcome=told.append) as client:
        ids = [client.report(**behaviour(number, NOW, "sync")) for number in range(20)]
        assert client.flush(WAIT_S)
        answers = [client.outcome(report_id, WAIT_S) for report_id in ids]
        assert {a.verdict for a in answers} == {"credited"}
        assert [a.points_milli for a in answers] == [46_800 * (100 + n) // 1_000 for n in range(20)]
        assert client.pending() == {}
        assert client.trouble() == ""

        repeat_all_outcomes(platform)
        # Outcomes of new records come after those, in each partition.
        ids += [client.report(**behaviour(number, NOW, "sync")) for number in range(20, 50)]
        assert all(client.outcome(report_id, WAIT_S) for report_id in ids)
        assert client.report(**behaviour(3, NOW, "sync")) == ids[3]
        assert client.outcome(ids[3], 0) == answers[3]
    assert sorted(a.report_id for a in told) == sorted(ids)

    with AppClient("metro", outbox_path, **login, on_outcome=told.append) as client:
        assert client.outcome(ids[0], 0) == answers[0], "kept for the next process"
    assert len(told) == 50


def repeat_all_outcomes(platform) -> None:
    """What a worker does after another one's death: publishes once more."""
    consumer = Consumer(
        platform.settings.librdkafka("admin") | {"group.id": "repeat", "enable.partition.eof": True}
    )
    producer = platform.producer("admin")
    shards = range(platform.settings.shards)
    consumer.assign([TopicPartition("outcomes.metro", shard, 0) for shard in shards])
    ended = 0
    while ended < len(shards):
        message = consumer.poll(WAIT_S)
        if message.error():
            ended += 1
        else:
            producer.produce("outcomes.metro", message.value(), message.key(), partition=message.partition())
    consumer.close()
    assert producer.flush(WAIT_S) == 0


def test_what_another_outbox_has_reported_is_a_duplicate_here(login, outbox_path) -> None:
    with AppClient("metro", outbox_path.with_name("first"), **login) as first:
        report_id = first.report(**behaviour(1, NOW, "twice"))
        assert first.outcome(report_id, WAIT_S).standing is Standing.RECORDED
    with AppClient("metro", outbox_path, **login) as second:
        assert second.report(**behaviour(1, NOW, "twice")) == report_id
        assert second.outcome(report_id, WAIT_S).standing is Standing.REPEATED
        changed = behaviour(1, NOW, "twice") | {"activity": {"distance_m": 90}}
        assert second.outcome(second.report(**changed), WAIT_S).standing is Standing.COUNTED


def test_while_the_app_is_suspended_records_wait_and_are_credited_under_their_ids(
    platform, login, outbox_path, monkeypatch
) -> None:
    monkeypatch.setattr(standing, "RETRY_FIRST_MS", 200)
    set_active(platform, False)
    with AppClient("metro", outbox_path, **login) as client:
        ids = [client.report(**behaviour(number, NOW, "suspended")) for number in range(5)]
        platform.wait_for(lambda: client.pending() == {"app_not_active": 5})
        assert client.outcome(ids[0], 0) is None
        set_active(platform, True)
        assert {client.outcome(report_id, WAIT_S).verdict for report_id in ids} == {"credited"}


def set_active(platform, active: bool) -> None:
    wanted = onboarding.known_app(platform.settings, "metro", active=active)
    onboarding.register(platform.settings, wanted)
    assert onboarding.wait_in_force(platform.settings, wanted) == []


def test_a_topic_made_again_costs_no_record_and_no_answer(platform, login, outbox_path, monkeypatch) -> None:
    """Its offsets begin anew, and some of what was acknowledged in the one before was never read."""
    monkeypatch.setattr(standing, "RETRY_FIRST_MS", 200)
    with AppClient("metro", outbox_path, **login) as client:
        ids = [client.report(**behaviour(number, NOW, "again")) for number in range(20)]
        assert all(client.outcome(report_id, WAIT_S) for report_id in ids)
        platform.end_workers()
        ids += [client.report(**behaviour(number, NOW, "again")) for number in range(20, 40)]
        assert client.flush(WAIT_S)
        make_again(platform, "intake.metro")
        ids += [client.report(**behaviour(number, NOW, "again")) for number in range(40, 60)]
        assert client.flush(WAIT_S)
        worker = platform.worker()
        adopt(platform, "intake.metro")
        answers = [client.outcome(report_id, WAIT_S) for report_id in ids]
        assert [answer and answer.verdict for answer in answers] == ["credited"] * 60, client.pending()
        assert worker.poll() is None


def make_again(platform, topic: str) -> None:
    admin = admin_client(platform.settings)
    admin.delete_topics([topic])[topic].result(30)
    platform.wait_for(lambda: topic not in admin.list_topics(timeout=10).topics)
    [spec] = [s for s in app_topic_specs(platform.settings.shards, "metro") if s.name == topic]
    make_topics(admin, [spec])


def adopt(platform, topic: str) -> None:
    topic_id = topic_ids(admin_client(platform.settings), [topic])[topic]
    producer = platform.producer("admin")
    for shard in range(platform.settings.shards):
        command = AdoptCommand(topic=topic, topic_id=topic_id, first=0)
        producer.produce(COMMANDS, encode_command(command), partition=shard)
    assert producer.flush(WAIT_S) == 0


def test_a_wrong_password_is_told_and_loses_nothing(login, outbox_path) -> None:
    with AppClient("metro", outbox_path, **login | {"password": "wrong"}) as client:
        report_id = client.report(**behaviour(1, NOW, "password"))
        end_s = time.monotonic() + WAIT_S
        while "uthentication" not in client.trouble():
            assert time.monotonic() < end_s, client.trouble()
            time.sleep(0.05)
        assert login["password"] not in client.trouble()
    with AppClient("metro", outbox_path, **login) as client:
        assert client.outcome(report_id, WAIT_S).verdict == "credited"


def test_asyncio_waits_for_hundreds_of_answers_without_a_thread_for_each(login, outbox_path) -> None:
    told: list[Answer] = []

    async def on_outcome(answer: Answer) -> None:
        await asyncio.sleep(0)
        told.append(answer)

    async def app() -> list[Answer]:
        async with AsyncAppClient("metro", outbox_path, **login, on_outcome=on_outcome) as client:
            ids = [await client.report(**behaviour(number, NOW, "async")) for number in range(300)]
            answers = await asyncio.gather(*(client.outcome(report_id, WAIT_S) for report_id in ids))
            assert await client.flush(WAIT_S)
            assert await client.pending() == {}
            return answers

    answers = asyncio.run(app())
    assert len(answers) == 300
    assert {a.standing for a in answers} == {Standing.RECORDED}
    assert sorted(told) == sorted(answers)
