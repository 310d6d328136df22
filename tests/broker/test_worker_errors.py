"""What ends a worker is told in its last line: what is wrong, what to do, and no traceback."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic

from schemas.topics import LEDGER
from stream import stack_file
from stream.embedded import keeper, processes
from stream.operate import stack as embedded
from stream.operate.platform.kafka_admin import admin_client
from tests.broker.conftest import Platform
from tests.broker.traffic import send

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


def ended(home: Path, kind: str, timeout_s: float = 30, **env: str) -> dict:
    """Starts a worker that ends by itself; its last line."""
    done = subprocess.run(
        [sys.executable, "-m", "stream.cli", "worker", kind],
        env={**os.environ, "POINTS_HOME": str(home), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 1, done.stdout
    return told(done.stdout)


def told(log: str) -> dict:
    assert "Traceback" not in log
    assert all(json.loads(line) for line in log.splitlines())
    last = json.loads(log.splitlines()[-1])
    assert last["event"] == "worker stopped"
    return last


@pytest.fixture
def archived(platform: Platform) -> Platform:
    """A platform whose archive worker runs and has archived something."""
    producer = platform.producer("app-metro")
    send(producer, "metro", 0, 200)
    producer.flush()
    platform.worker()
    platform.archive = platform.worker("archive")
    platform.wait_until_decided(200)
    platform.wait_for(lambda: archive_log(platform).count("shard ready") == platform.settings.shards)
    return platform


def archive_log(platform: Platform) -> str:
    return (platform.settings.home / "logs" / "archive-test-1.log").read_text()


@pytest.mark.parametrize("kind", ["intake", "archive"])
def test_without_a_stack(kind: str, tmp_path: Path) -> None:
    last = ended(tmp_path / "none", kind)
    assert "There is no stack" in last["reason"]
    assert "points up" in last["todo"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["intake", "archive"])
def test_with_a_damaged_stack_file(kind: str, tmp_path: Path) -> None:
    stack_file.stack_path(tmp_path).write_text("{not JSON")
    last = ended(tmp_path, kind)
    assert "stack.json is damaged" in last["reason"]


def test_before_kafka_with_a_wrong_password_and_with_taken_ports(platform: Platform) -> None:
    home = platform.settings.home
    for kind in ("intake", "archive"):
        last = ended(home, kind, **{f"POINTS_KAFKA_PASSWORD_{kind.upper()}": "wrong"})
        assert f"does not take the password of {kind}" in last["reason"]
    port = stack_file.read(home).ports["query"]
    with socket.create_server(("127.0.0.1", port)):
        last = ended(home, "archive")
        assert "Cannot listen" in last["reason"]
        assert str(port) in last["reason"]
        embedded.up(home, env={})  # what it says: another port is chosen
        assert stack_file.read(home).ports["query"] != port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert address in ended(home, "intake", POINTS_METRICS_ADDRESS=address)["reason"]

    keeper.end(home)  # or Kafka would be back at once
    processes.find(home, "kafka").kill()
    for kind in ("intake", "archive"):
        last = ended(home, kind)
        assert "does not answer" in last["reason"]
        assert "points up" in last["todo"]
    embedded.up(home, env={})  # what it says
    worker = platform.worker("archive")
    platform.wait_for(lambda: platform.logs().count("shard ready") == platform.settings.shards)
    assert worker.poll() is None


def test_a_second_archive_worker_of_one_folder(archived: Platform) -> None:
    last = ended(archived.settings.home, "archive")
    assert "Another archive worker uses" in last["reason"]
    assert "points status" in last["todo"]
    assert archived.archive.poll() is None
    archived.archive.kill()  # and the lock goes with its holder
    archived.archive.wait()
    archived.worker("archive")
    archived.wait_for(lambda: archived.logs().count("answering queries") == 2)


def test_the_archives_folder_taken_away_under_a_worker(archived: Platform) -> None:
    folder = archived.settings.home / "clickhouse"
    folder.rename(folder.with_name("taken"))
    producer = archived.producer("app-metro")
    send(producer, "metro", 200, 200)
    producer.flush()
    assert archived.archive.wait(60) == 1
    last = told(archive_log(archived))
    assert "was deleted or moved" in last["reason"]
    assert "start the archive worker again" in last["todo"]
    shutil.rmtree(folder, ignore_errors=True)  # what it says: everything is written anew
    archived.worker("archive")
    sql = "SELECT count() AS records FROM entries WHERE topic = 'intake.metro'"
    archived.wait_for(lambda: b"400" in query(archived, sql))


def test_a_ledger_shorter_than_the_archive(archived: Platform) -> None:
    archived.wait_for(lambda: b"credited" in query(archived, "SELECT verdict FROM entries WHERE topic != ''"))
    archived.end_workers()
    admin = admin_client(archived.settings)
    admin.delete_topics([LEDGER])[LEDGER].result()
    archived.wait_for(lambda: LEDGER not in admin.list_topics().topics)
    admin.create_topics([NewTopic(LEDGER, archived.settings.shards, 1)])[LEDGER].result()
    last = ended(archived.settings.home, "archive")
    assert "the ledger ends at 0, but the archive has seen" in last["reason"]
    assert "ledger shorter than the archive" in last["todo"]


def query(platform: Platform, sql: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "stream.cli", "query", sql],
        env={**os.environ, "POINTS_HOME": str(platform.settings.home)},
        capture_output=True,
    )
    return done.stdout
