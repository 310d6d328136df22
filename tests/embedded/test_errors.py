"""Errors as an operator meets them: one message, what to do, exit code 1, no traceback."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from stream import cli, folder, stack_file
from stream.embedded import jars, ports
from stream.engine import redis_health
from stream.errors import OperatorError
from stream.operate import doctor
from stream.settings import Settings
from tests.redis.servers import CONFIGURATION, server


def points(*arguments: str, **env: str) -> subprocess.CompletedProcess:
    """Run `points` with these variables and little else."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "stream.cli", *arguments],
        env={**kept, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def assert_told(done: subprocess.CompletedProcess, *words: str) -> None:
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "What to do:" in done.stderr
    for word in words:
        assert word in done.stderr


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    in_its_place = tmp_path / "file"
    in_its_place.touch()
    for home in (in_its_place, in_its_place / "below"):
        assert_told(points("up", POINTS_HOME=str(home)), str(home), "set POINTS_HOME")


def test_damaged_stack_file(tmp_path: Path) -> None:
    stack_file.stack_path(tmp_path).write_text("{not JSON")
    for command in ("up", "status"):
        assert_told(points(command, POINTS_HOME=str(tmp_path)), "stack.json is damaged", "a copy")


def test_first_download_without_network(tmp_path: Path) -> None:
    # Port 9 of loopback refuses connections: no network, and no waiting for one.
    done = points(
        "up",
        POINTS_HOME=str(tmp_path / "home"),
        XDG_CACHE_HOME=str(tmp_path),
        HTTPS_PROXY="http://127.0.0.1:9",
    )
    assert_told(done, "Maven Central cannot be reached", "points up", str(tmp_path / "points" / "jars"))
    assert not list((tmp_path / "home" / "run").glob("*.json"))


def test_misspelt_variable(tmp_path: Path) -> None:
    assert_told(points("up", POINTS_HOME=str(tmp_path), POINTS_SHARD="4"), "did you mean POINTS_SHARDS?")


def test_no_stack(tmp_path: Path) -> None:
    assert_told(points("status", POINTS_HOME=str(tmp_path)), "points up")
    assert points("down", POINTS_HOME=str(tmp_path)).returncode == 0


def test_disk_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=folder.FREE_BYTES_MIN - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OperatorError, match="MiB left"):
        folder.prepare(tmp_path)


def test_disk_full_in_the_middle_of_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "block")

    monkeypatch.setattr(cli, "points", full)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert "disk is full while writing block" in capsys.readouterr().err


def test_python_too_old(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    with pytest.raises(SystemExit):
        cli.main()
    assert "needs Python 3.11 or newer; this is 3.10" in capsys.readouterr().err


def test_jars_go_to_the_data_folder_without_a_usable_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    in_its_place = tmp_path / "file"
    in_its_place.touch()
    for unusable in ("", str(in_its_place)):
        monkeypatch.setenv("HOME", unusable)
        assert jars.cache_folder(tmp_path) == tmp_path / "jars"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert jars.cache_folder(tmp_path) == tmp_path / ".cache" / "points" / "jars"


def test_no_free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda _: False)
    with pytest.raises(OperatorError, match="No free port"):
        ports.choose(set())


def test_doctor_without_a_stack_says_what_to_do(tmp_path: Path) -> None:
    done = points("doctor", "--json", POINTS_HOME=str(tmp_path / "new"))
    assert done.returncode == 1
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["settings"]["result"] == "fail"
    assert "points up" in checks["settings"]["todo"]
    assert checks["java"]["result"] == "ok"
    assert checks["kafka"]["result"] == "skipped"
    assert not (tmp_path / "new").exists()


@pytest.mark.stack
def test_doctor_of_a_running_stack_finds_all_well_and_shows_no_secret(stack: Settings) -> None:
    for arguments in (["doctor"], ["doctor", "--json"], ["status"], ["status", "--json"]):
        done = points(*arguments, POINTS_HOME=str(stack.home))
        assert done.returncode == 0, done.stdout + done.stderr
        for secret in (
            *stack.credentials.values(),
            stack.query_token,
            stack_file.read(stack.home).redis_password,
        ):
            assert secret not in done.stdout + done.stderr


@pytest.mark.stack
def test_doctor_finds_topics_that_differ(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "apps_with_topics", lambda _: ["metro", "bus", "newcomer"])
    checks, _ = doctor.examine({"POINTS_HOME": str(stack.home)})
    (topics,) = [check for check in checks if check.name == "topics"]
    assert topics.result == "fail"
    assert "intake.newcomer is missing" in topics.detail
    assert "points up" in topics.todo


HEALTHY = {
    "redis_version": "7.4.6",
    "maxmemory_policy": "noeviction",
    "evicted_keys": "0",
    "aof_enabled": "1",
    "aof_last_write_status": "ok",
    "aof_last_bgrewrite_status": "ok",
}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"redis_version": "5.0.7"}, "older than 6.2"),
        ({"redis_version": "6.2.14"}, "CVE-2025-21605"),
        ({"redis_version": "7.4.5"}, "7.4.6 has not"),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.3"}, "8.1.4 has not"),
        ({"maxmemory_policy": "allkeys-lru"}, "noeviction"),
        ({"evicted_keys": "7"}, "evicted 7 keys"),
        ({"aof_enabled": "0"}, "appendonly"),
        ({"aof_last_write_status": "err"}, "cannot be written"),
        ({"aof_last_bgrewrite_status": "err"}, "could not be rewritten"),
    ],
)
def test_doctor_finds_redis_faults(changed: dict, fault: str) -> None:
    assert list(redis_health.faults(HEALTHY)) == []
    (found,) = redis_health.faults({**HEALTHY, **changed})
    assert fault in found


@pytest.mark.parametrize(
    "changed",
    [{"redis_version": "8.4.0"}, {"redis_version": "7.2.4", "valkey_version": "9.1.2"}],
)
def test_doctor_takes_servers_that_are_mended(changed: dict) -> None:
    assert list(redis_health.faults({**HEALTHY, **changed})) == []
    assert "CVE" not in redis_health.notes({**HEALTHY, **changed})


def test_doctor_notes_a_line_that_only_packagers_mend() -> None:
    debian = {**HEALTHY, "redis_version": "7.0.15"}
    assert list(redis_health.faults(debian)) == []
    assert "see that its packager did" in redis_health.notes(debian)


@pytest.mark.stack
def test_doctor_sees_a_redis_that_evicts(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with server("valkey", CONFIGURATION + "maxmemory-policy allkeys-lru\n") as evicting:
        there = msgspec.structs.replace(stack, redis_url=evicting.url)
        monkeypatch.setattr(doctor, "load", lambda _: there)
        checks, _ = doctor.examine({"POINTS_HOME": str(stack.home)})
    (found,) = [check for check in checks if check.name == "redis"]
    assert found.result == "fail"
    assert "allkeys-lru" in found.detail
    assert "runbook" in found.todo
