"""What dies is started again by itself, on its own ports, with all that was acknowledged; that is told."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from stream import stack_file
from stream.embedded import keeper, processes
from stream.embedded.keeper import (
    ASK_EVERY_S,
    ASK_TIMEOUT_S,
    DELAY_S_MAX,
    FAILED_STARTS_MAX,
    LOOK_EVERY_S,
    SERVICES,
    UNANSWERED_MAX,
    Keeper,
    delay_s,
)
from stream.errors import OperatorError
from stream.operate import stack
from stream.settings import Settings

AGAIN_WITHIN_S = 15.0
SILENT_S_MAX = ASK_EVERY_S + UNANSWERED_MAX * (ASK_TIMEOUT_S + LOOK_EVERY_S)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("kept")
    try:
        yield home
    finally:
        stack.down(home)


@pytest.fixture
def running(home: Path) -> Settings:
    return stack.up(home, env={})


def wait_for(what: Callable[[], bool], timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.05)


def kill(home: Path, name: str) -> None:
    process = processes.find(home, name)
    process.kill()
    wait_for(lambda: not processes.is_alive(process), 10)


def points(home: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [Path(sys.executable).parent / "points", *arguments],
        env=os.environ | {"POINTS_HOME": str(home), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.stack
def test_kafka_is_there_again_within_15_s_with_all_that_was_acknowledged(
    home: Path, running: Settings
) -> None:
    ports = stack_file.read(home).ports
    restarts = keeper.told(home)["kafka"].restarts
    producer = Producer({**running.librdkafka("admin"), "acks": "all", "log_level": 0})
    acknowledged: list[bytes] = []
    for number in range(2_000):
        producer.produce(
            "commands",
            b"%d" % number,
            partition=0,
            on_delivery=lambda error, message: error or acknowledged.append(message.value()),
        )
    producer.flush(20)
    assert len(acknowledged) == 2_000

    kill(home, "kafka")
    died = time.monotonic()
    producer.produce("commands", b"after", partition=0)  # the client waits for the broker by itself
    assert producer.flush(AGAIN_WITHIN_S) == 0
    assert time.monotonic() - died < AGAIN_WITHIN_S

    assert stack_file.read(home).ports == ports
    wait_for(lambda: keeper.told(home)["kafka"].restarts == restarts + 1, 5)
    assert set(acknowledged) <= values(running, 2_001)


def values(settings: Settings, count: int) -> set[bytes]:
    consumer = Consumer({**settings.librdkafka("admin"), "group.id": "test", "enable.auto.commit": False})
    consumer.assign([TopicPartition("commands", 0, 0)])
    found = {message.value() for message in consumer.consume(count, timeout=20)}
    consumer.close()
    return found


@pytest.mark.stack
def test_redis_is_there_again_within_15_s(home: Path, running: Settings) -> None:
    kill(home, "redis")
    with redis.Redis.from_url(running.redis_url, driver_info=None) as client:
        wait_for(lambda: answers(client), AGAIN_WITHIN_S)


def answers(client: redis.Redis) -> bool:
    try:
        return client.ping()
    except redis.RedisError:
        return False


@pytest.mark.stack
@pytest.mark.parametrize("name", list(SERVICES))
def test_one_that_lives_and_does_not_answer_is_ended_and_is_there_again(
    home: Path, running: Settings, name: str
) -> None:
    restarts = keeper.told(home)[name].restarts
    kill(home, name)  # so that the keeper knows for sure that it has answered
    wait_for(lambda: keeper.told(home)[name].restarts == restarts + 1, 2 * AGAIN_WITHIN_S)
    silent = processes.find(home, name)
    silent.suspend()  # as a broker that only collects garbage: its port is open, and nobody answers
    wait_for(lambda: keeper.told(home)[name].restarts == restarts + 2, SILENT_S_MAX + 2 * AGAIN_WITHIN_S)
    assert not processes.is_alive(silent)
    assert f"did not answer {UNANSWERED_MAX} times" in keeper.told(home)[name].reason
    assert ("no app wrote" in keeper.told(home)[name].reason) == (name == "kafka")


@pytest.mark.stack
def test_status_and_doctor_tell_what_was_started_again_and_why(home: Path, running: Settings) -> None:
    kill(home, "redis")
    wait_for(lambda: processes.find(home, "redis") is not None, AGAIN_WITHIN_S)
    wait_for(lambda: keeper.told(home)["redis"].restarts > 0, AGAIN_WITHIN_S)
    kept = json.loads(points(home, "status", "--json").stdout)["kept"]["redis"]
    assert kept["restarts"] > 0
    assert kept["reason"] in ("SIGKILL", "it was killed, or said nothing")
    assert "redis was started again" in points(home, "status").stdout
    checks = {check["name"]: check for check in json.loads(points(home, "doctor", "--json").stdout)["checks"]}
    assert checks["keeper"]["result"] == "warning"
    assert "redis was started again" in checks["keeper"]["detail"]


@pytest.mark.stack
def test_the_next_up_heals_a_killed_keeper_and_until_then_it_is_told(home: Path, running: Settings) -> None:
    kill(home, "keeper")
    assert {p.name: p.state for p in stack.status(home).processes}["keeper"] == "down"
    told = points(home, "doctor")
    assert told.returncode == 1
    assert "The keeper does not run" in told.stdout
    before = processes.find(home, "kafka").pid
    stack.up(home, env={})
    assert processes.find(home, "keeper") is not None
    assert processes.find(home, "kafka").pid == before


@pytest.mark.stack
def test_there_is_one_keeper_and_it_outlives_whoever_started_it(home: Path, running: Settings) -> None:
    before = processes.find(home, "keeper")
    stack.up(home, env={})
    assert processes.find(home, "keeper") == before
    assert os.getsid(before.pid) == before.pid, "of a session of its own: a terminal's end does not reach it"


@pytest.mark.stack
def test_after_down_nothing_is_started_again(home: Path, running: Settings) -> None:
    watched = processes.find(home, "keeper")
    stack.down(home)
    assert not processes.is_alive(watched)
    assert keeper.told(home) == {}
    assert {p.state for p in stack.status(home).processes} == {"down"}


class Service:
    """A service that does what it is told, without a process of its own."""

    def __init__(self, starts: bool) -> None:
        self.starts, self.tried = starts, 0

    def find(self, home: Path) -> psutil.Process | None:
        return None

    def ensure_running(self, *_: object) -> None:
        self.tried += 1
        if not self.starts:
            raise OperatorError("It died.", "look why.")


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Keeper, Service]:
    """A keeper of a folder with one service, which dies at each start; its clock moves by hand."""
    (tmp_path / "run").mkdir()
    fields = {"platform_id": "test", "shards": 1, "simulated_clock": True, "kafka_cluster_id": "c"}
    secrets = {
        "kafka_controller_password": "",
        "kafka_passwords": {},
        "redis_password": "",
        "query_token": "",
    }
    stack_file.write(tmp_path, stack_file.StackFile(**fields, **secrets, ports={}))
    processes.record(tmp_path, keeper.NAME, psutil.Process(), None)
    service = Service(starts=False)
    monkeypatch.setattr(keeper, "SERVICES", {"redis": service})
    return Keeper(tmp_path), service


def test_a_service_that_dies_at_every_start_is_left_alone_with_a_word(
    broken: tuple[Keeper, Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, service = broken
    seconds = itertools.count(time.time())
    monkeypatch.setattr(time, "time", lambda: next(seconds))
    for _ in range(1_000):
        watch.look()
    assert service.tried == FAILED_STARTS_MAX
    kept = keeper.told(tmp_path)["redis"]
    assert kept.given_up
    assert kept.reason == "It died. To go on: look why."


def test_delays_grow_and_are_bounded() -> None:
    delays = [delay_s(deaths) for deaths in range(20)]
    assert delays[:5] == [0, 0, 1, 2, 4]
    assert delays == sorted(delays)
    assert delays[-1] == DELAY_S_MAX


def test_the_keeper_knows_every_service() -> None:
    assert list(SERVICES) == ["kafka", "redis"]
