"""While Kafka is away, workers wait, say so now and then, can be ended, and go on when it is back."""

import json
import signal
import time

import pytest

from stream.embedded import keeper, processes
from stream.operate import stack as embedded
from tests.broker.traffic import send

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
AWAY_S = 20.0
LINES_MAX = 40  # below 100 a minute, with room for the first seconds


def test_workers_outlive_kafka_and_say_little(platform) -> None:
    home = platform.settings.home
    workers = {kind: platform.worker(kind) for kind in ("intake", "archive")}
    platform.wait_for(lambda: platform.logs().count("shard ready") == 2 * platform.settings.shards)
    logs = list((home / "logs").glob("*-test-*.log"))
    before = {log: len(log.read_text().splitlines()) for log in logs}

    keeper.end(home)  # or Kafka would be back at once
    processes.find(home, "kafka").kill()
    time.sleep(AWAY_S)  # how long it is away: the measure itself
    for log in logs:
        said = log.read_text().splitlines()[before[log] :]
        assert 0 < len(said) < LINES_MAX, said
        assert all(json.loads(line)["level"] for line in said)
        assert any("times more in" in line for line in said)
    assert all(worker.poll() is None for worker in workers.values())

    embedded.up(home, env={})
    producer = platform.producer("app-metro")
    send(producer, "metro", 0, 100)
    producer.flush()
    platform.wait_until_decided(100)

    keeper.end(home)
    processes.find(home, "kafka").kill()
    for worker in workers.values():
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(15) for worker in workers.values()] == [0, 0]
