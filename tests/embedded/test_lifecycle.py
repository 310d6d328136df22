"""A stack's life on real processes: up, down, kill -9, taken ports, damaged files.

The tests share one data folder and heal what they break, so that Kafka is started a few times only.
"""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from stream import stack_file
from stream.embedded import processes
from stream.errors import OperatorError
from stream.operate import stack
from stream.operate.stack import down, status
from stream.settings import Settings

pytestmark = pytest.mark.stack


def up(home: Path) -> Settings:
    return stack.up(home, env={})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    # A path that a careless shell, Java's Latin-1 files or a class path would trip over.
    home = tmp_path_factory.mktemp("lifecycle") / "数据 folder"
    try:
        yield home
    finally:
        down(home)


@pytest.fixture
def running(home: Path) -> Settings:
    return up(home)


def pids(home: Path) -> dict[str, int | None]:
    return {process.name: process.pid for process in status(home).processes}


def kill(home: Path, name: str) -> None:
    process = processes.find(home, name)
    process.kill()
    while processes.is_alive(process):
        time.sleep(0.01)


def redis_admin(home: Path) -> redis.Redis:
    remembered = stack_file.read(home)
    password = remembered.redis_admin_password
    return redis.Redis.from_url(stack_file.redis_url(home, remembered, stack_file.REDIS_ADMIN, password))


@contextlib.contextmanager
def listening(*ports: int) -> Iterator[None]:
    with contextlib.ExitStack() as sockets:
        for port in ports:
            sockets.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


def test_second_up_changes_nothing(home: Path, running: Settings) -> None:
    before = pids(home)
    assert None not in before.values()
    assert up(home) == running
    assert pids(home) == before


def test_two_at_once_start_one_stack(home: Path) -> None:
    down(home)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(up, [home, home])
    assert first == second
    for name in ("kafka", "redis"):
        folder = str((home / name).resolve())
        assert sum(folder == cwd for cwd in _working_folders()) == 1


def _working_folders() -> Iterator[str]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            yield process.cwd()


def test_only_the_owner_can_read_what_is_secret(home: Path, running: Settings) -> None:
    assert home.stat().st_mode & 0o077 == 0
    secrets = [*running.credentials.values(), running.query_token, *_other_secrets(home)]
    for path in (path for path in home.rglob("*") if path.is_file()):
        if any(secret.encode() in path.read_bytes() for secret in secrets):
            assert path.stat().st_mode & 0o077 == 0, path
    for pid in pids(home).values():
        shown = " ".join(psutil.Process(pid).cmdline() + list(psutil.Process(pid).environ().values()))
        assert not any(secret in shown for secret in secrets)


def _other_secrets(home: Path) -> list[str]:
    remembered = stack_file.read(home)
    return [
        remembered.redis_password,
        remembered.redis_admin_password,
        remembered.kafka_controller_password,
    ]


def test_everything_listens_on_loopback_only(home: Path, running: Settings) -> None:
    for pid in pids(home).values():
        for connection in psutil.Process(pid).net_connections():
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip in ("127.0.0.1", "::ffff:127.0.0.1")


def test_up_after_kill_9_finds_everything_again(home: Path, running: Settings) -> None:
    producer = Producer({**running.librdkafka("admin"), "acks": "all"})
    producer.produce("commands", key=b"kept", value=b"kept", partition=0)
    producer.flush(20)
    with redis_admin(home) as client:
        client.set("kept", "kept")
        client.execute_command("WAITAOF", 1, 0, 5000)
    for name in ("keeper", "kafka", "redis"):  # with nobody left to start them again
        kill(home, name)
    with _last_append_only_file(home).open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nke")  # a write that the kill cut off
    (home / "run" / "kafka.json").write_text("{")  # and a record that was never finished

    again = up(home)

    assert again == running
    with redis_admin(home) as client:
        assert client.get("kept") == b"kept"
    consumer = Consumer({**again.librdkafka("admin"), "group.id": "test", "enable.auto.commit": False})
    consumer.assign([TopicPartition("commands", 0, 0)])
    assert consumer.poll(20).value() == b"kept"
    consumer.close()


def _last_append_only_file(home: Path) -> Path:
    return max((home / "redis").rglob("*.aof"), key=lambda path: path.stat().st_mtime_ns)


def test_process_without_record_is_found_not_doubled(home: Path, running: Settings) -> None:
    before = pids(home)
    for name in before:  # as if `points up` had been killed before it wrote them
        (home / "run" / f"{name}.json").unlink()
    up(home)
    after = pids(home)
    assert before.pop("keeper") != after.pop("keeper"), "the one without a record ends by itself"
    assert after == before


def test_taken_ports_are_replaced_and_remembered(home: Path, running: Settings) -> None:
    down(home)
    before = stack_file.read(home).ports
    names = ("kafka", "kafka-apps", "kafka-controller")
    with listening(*(before[name] for name in names)):
        moved = up(home)
        after = stack_file.read(home).ports
    assert not set(after.values()) & {before[name] for name in names}
    assert moved.kafka_bootstrap == f"127.0.0.1:{after['kafka']}"
    assert up(home) == moved


def test_down_spares_whoever_got_the_pid(home: Path, running: Settings) -> None:
    mine = psutil.Process()
    record = processes.ProcessRecord(mine.pid, mine.create_time() - 60, None)
    path = home / "run" / "intake.json"
    path.write_bytes(stack_file.msgspec.json.encode(record))
    assert down(home) == ["keeper", "kafka", "redis"]  # and this test goes on
    assert not path.exists(), "a worker that is gone is not waited for"


def test_down_ends_everything_and_a_second_one_is_harmless(home: Path, running: Settings) -> None:
    assert down(home) == ["keeper", "kafka", "redis"]
    assert down(home) == []
    assert set(pids(home).values()) == {None}
    assert str((home / "kafka").resolve()) not in set(_working_folders())


def test_down_stops_workers_first(home: Path, running: Settings) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    (home / "intake").mkdir()
    processes.start(home, "intake", sleeper, dict(os.environ), None)
    assert down(home) == ["keeper", "intake", "kafka", "redis"]


def test_a_broker_that_dies_says_why_and_where_its_log_is(home: Path) -> None:
    down(home)
    metadata = home / "kafka" / "data" / "__cluster_metadata-0"
    metadata.rename(home / "kept")
    metadata.write_text("a file in the place of the folder")
    try:
        with pytest.raises(OperatorError) as caught:
            up(home)
    finally:
        metadata.unlink()
        (home / "kept").rename(metadata)
    assert "Kafka died" in caught.value.message
    assert str(home / "logs" / "kafka.log") in caught.value.message
    assert "__cluster_metadata" in caught.value.message


@pytest.mark.parametrize("content", ["", "garbage", "version=1\ncluster.id=another\nnode.id=1\n"])
def test_damaged_log_folder_is_told_before_kafka_is_started(home: Path, content: str) -> None:
    down(home)
    meta = home / "kafka" / "data" / "meta.properties"
    kept = meta.read_text()
    meta.write_text(content)
    try:
        with pytest.raises(OperatorError, match=r"meta\.properties"):
            up(home)
    finally:
        meta.write_text(kept)


def test_settings_that_contradict_the_stack_start_nothing(home: Path) -> None:
    down(home)
    with pytest.raises(OperatorError, match="POINTS_SHARDS"):
        stack.up(home, env={"POINTS_SHARDS": "8"})
    assert set(pids(home).values()) == {None}


def test_data_without_its_passwords_is_told(home: Path) -> None:
    down(home)
    path = stack_file.stack_path(home)
    path.rename(home / "kept")
    try:
        with pytest.raises(OperatorError, match=r"stack\.json"):
            up(home)
    finally:
        (home / "kept").rename(path)
