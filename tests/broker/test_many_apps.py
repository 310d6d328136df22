"""Forty apps, registered while traffic flows and workers come and go: nothing lost or doubled, and every app
is told what the ledger says about its records, all of it and nothing else."""

import json
import threading
from collections import Counter

import pytest
from confluent_kafka import Consumer, TopicPartition

from loadtest.apps import with_apps
from schemas.kinds.app import App
from schemas.topics import intake_topic, outcomes_topic
from schemas.verdicts import CODES
from stream.operate.platform.onboarding import app_principal, registry, wait_in_force
from tests.broker.traffic import send

pytestmark = [pytest.mark.stack, pytest.mark.timeout(280)]
APPS = [App(f"app{n:02}", f"operator {n}", ["SZ-METRO"], ["metro-gate"]) for n in range(40)]
RECORDS = 150  # of each app


def test_forty_apps_are_added_while_traffic_flows(platform) -> None:
    first, second = platform.worker(), platform.worker()
    flowing = threading.Event()
    metro = platform.producer("app-metro")

    def flow() -> None:
        number = 0
        while not flowing.wait(0.2):  # the traffic's own pace
            send(metro, "metro", number, 100)
            number += 100

    traffic = threading.Thread(target=flow)
    traffic.start()
    try:
        for number, app in enumerate(APPS):
            platform.settings = with_apps(platform.settings, [app])
            if number == 15:
                first.terminate()  # a rolling restart in the middle of it
                first.wait(30)
                platform.worker()
            elif number == 30:
                second.kill()
                platform.worker()
            producer = platform.producer(app_principal(app.id), **{"enable.idempotence": True})
            send(producer, app.id, 0, RECORDS)
            assert producer.flush(60) == 0
    finally:
        flowing.set()
        traffic.join()
    assert metro.flush(60) == 0
    assert not wait_in_force(platform.settings, APPS[-1])
    assert registry(platform.settings).keys() >= {app.id for app in APPS}
    topics = {intake_topic(app.id) for app in APPS}
    platform.wait_for(
        lambda: sum(n for (topic, *_), n in platform.rows().items() if topic in topics) >= 40 * RECORDS, 120
    )
    assert platform.rows() == platform.committed_records()
    assert set(platform.rows().values()) == {1}
    told = ledger_answers(platform)
    for app in APPS:
        assert outcomes(platform, app.id, told[app.id].total()) == told[app.id]


def ledger_answers(platform) -> dict[str, Counter]:
    """By app: (partition, offset, verdict, shard, seq, row) of every row about a record of it."""
    told: dict[str, Counter] = {app.id: Counter() for app in APPS}
    for block in platform.accepted():
        columns = (block.rows.column(name).to_pylist() for name in ("source", "offset", "verdict"))
        for row, (source, offset, verdict) in enumerate(zip(*columns, strict=True)):
            app = block.meta.sources[source].topic.removeprefix("intake.") if source >= 0 else ""
            if app in told:
                shard = block.meta.shard
                told[app][shard, offset, CODES[verdict], shard, block.meta.seq, row] += 1
    return told


def outcomes(platform, app: str, due: int) -> Counter:
    """What the app reads with its own credentials, repetitions dropped as its page tells it to."""
    user = app_principal(app)
    consumer = Consumer({**platform.settings.librdkafka(user), "group.id": user, "enable.auto.commit": False})
    shards = range(platform.settings.shards)
    consumer.assign([TopicPartition(outcomes_topic(app), shard, 0) for shard in shards])
    seen: dict[tuple, tuple] = {}
    try:
        while len(seen) < due:
            message = consumer.poll(30)
            assert message is not None, f"{app} waits for {due - len(seen)} outcomes"
            assert not message.error(), message.error()
            o = json.loads(message.value())
            place = (o["shard"], o["seq"], o["row"])
            seen[place] = (o["partition"], o["offset"], o["verdict"], *place)
    finally:
        consumer.close()
    return Counter(seen.values())
