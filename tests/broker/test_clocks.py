"""A clock that is hours off is named, in both directions; what is written has the broker's time."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, TopicPartition

from stream.operate.platform.clock import broker_ahead_ms
from tests.broker.traffic import send

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
HOUR_MS = 3_600_000


def shifted(home: Path, fault: str, *command: str) -> subprocess.Popen:
    """A `points` command on a machine with another clock."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.broker.faulty_worker", fault, *command],
        env={**os.environ, "POINTS_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def last_line(process: subprocess.Popen) -> dict:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert "Traceback" not in output
    return json.loads(output.splitlines()[-1])


def test_clocks_that_are_hours_apart_are_named(platform) -> None:
    home = platform.settings.home
    assert broker_ahead_ms(platform.settings, "admin") == 0
    for fault, words in (("clock_ahead", "3.0 hours ahead of"), ("clock_behind", "3.0 hours behind")):
        for kind in ("intake", "archive"):
            told = last_line(shifted(home, fault, "worker", kind))
            assert told["reason"] == f"This machine's clock is {words} the broker's."
            assert "clocks differ" in told["todo"]
        output, _ = shifted(home, fault, "doctor", "--json").communicate(timeout=60)
        [clocks] = [check for check in json.loads(output)["checks"] if check["name"] == "clocks"]
        assert clocks["result"] == "fail"
        assert f"{words} the broker's and {words} Redis's" in clocks["detail"]


def test_outcomes_have_the_brokers_time_whatever_the_workers_is(platform) -> None:
    producer = platform.producer("app-metro")
    send(producer, "metro", 0, 100)
    producer.flush()
    worker = shifted(platform.settings.home, "clock_ahead_later", "worker", "intake")
    try:
        platform.wait_until_decided(100)
        platform.wait_for(lambda: len(outcomes(platform)) == 100)
        for message in outcomes(platform):
            kind, timestamp_ms = message.timestamp()
            assert kind == TIMESTAMP_LOG_APPEND_TIME
            assert abs(timestamp_ms - time.time() * 1_000) < HOUR_MS
    finally:
        worker.terminate()
        worker.communicate(timeout=30)


def test_a_clock_that_falls_behind_a_running_worker_is_named(platform) -> None:
    producer = platform.producer("app-metro")
    send(producer, "metro", 0, 100)
    producer.flush()
    told = last_line(shifted(platform.settings.home, "clock_behind_later", "worker", "intake"))
    assert "The broker's timestamps are 3.0 hours ahead of this machine's clock" in told["reason"]


def outcomes(platform) -> list:
    """All that the broker has for the app."""
    config = platform.settings.librdkafka("app-metro") | {
        "group.id": "app-metro",
        "enable.auto.commit": False,
    }
    consumer = Consumer(config | {"enable.partition.eof": True})
    consumer.assign([TopicPartition("outcomes.metro", p, 0) for p in range(platform.settings.shards)])
    found, ended = [], 0
    while ended < platform.settings.shards:
        message = consumer.poll(20)
        assert message is not None
        if message.error():
            ended += 1
        else:
            found.append(message)
    consumer.close()
    return found
