"""`points send` and `points outcomes`, as an operator runs them."""

import datetime as dt
import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import pytest

from loadtest.environment import inherited
from schemas.outcome import OUTCOME_FIELDS
from sinks.app_client.records import make_record
from stream.settings import Settings
from tests.app_client.an_app import behaviour

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(minutes=1)


def line(number: int, **said: object) -> bytes:
    """A report of a person who reports nothing else."""
    uid = hashlib.md5(f"send {number}".encode()).hexdigest()
    return make_record(**behaviour(number, NOW, "send") | {"uid": uid} | said).value + b"\n"


class Points:
    """The command, run in a folder."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._folder = folder
        self._environment = inherited() | {
            "POINTS_HOME": str(settings.home),
            "POINTS_KAFKA_PASSWORD_APP_METRO": settings.password("app-metro"),
            "COLUMNS": "120",
        }

    def start(self, *arguments: str, environment: dict | None = None, **more: object) -> subprocess.Popen:
        argv = [sys.executable, "-m", "stream.cli", *arguments]
        return subprocess.Popen(argv, env=self._environment | (environment or {}), cwd=self._folder, **more)

    def __call__(
        self, *arguments: str, stdin: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess:
        process = self.start(*arguments, environment=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        stdout, stderr = process.communicate(stdin, timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


@pytest.fixture
def points(platform, tmp_path) -> Points:
    return Points(platform.settings, tmp_path)


def test_a_file_is_sent_and_its_refused_lines_are_named(points, tmp_path) -> None:
    good = b"".join(line(number) for number in range(1_500))  # more than one chunk
    bad = [
        line(2_000, activity={"steps": 5}),  # line 1501: decided by the platform
        b'{"version": 1, "uid": "SECRET"}\n',  # 1502: not sent
        b"\n",
        line(0),  # 1504: line 1 again
        line(2_001).replace(b'"distance_m":2101', b'"distance_m":2102'),
        line(2_001),  # 1506: the id of 1505
    ]
    (tmp_path / "trips.jsonl").write_bytes(good + b"".join(bad))
    done = points("send", "trips.jsonl", "--as", "metro", "--json")
    assert done.returncode == 1, done.stderr.decode()
    told = json.loads(done.stdout)
    assert told["verdicts"] == {"credited": 1_501, "activity_invalid": 1}
    assert told["not_sent"] == {"malformed": 1, "same as an earlier line": 1, "id_taken": 1}
    assert (told["lines"], told["sent"], told["refused_lines"]) == (1_506, 1_502, 3)
    assert [(r["verdict"], r["sent"], r["count"], r["first_lines"]) for r in told["refused"]] == [
        ("activity_invalid", True, 1, [1501]),
        ("malformed", False, 1, [1502]),
        ("id_taken", False, 1, [1506]),
    ]
    assert b"SECRET" not in done.stdout + done.stderr

    shown = points("send", "trips.jsonl", "--as", "metro")
    assert shown.returncode == 1
    text = shown.stdout.decode()
    assert "│ duplicate" in text
    assert "1,502" in text, "every record that was sent before is a duplicate now"
    assert "line 1502: malformed, not sent: kind: is missing; must be report\n  to do: repair" in text


def test_sending_a_good_file_again_is_harmless(points) -> None:
    value = line(3_000) + line(3_001)
    first = points("send", "-", "--as", "metro", "--json", stdin=value)
    again = points("send", "-", "--as", "metro", "--json", stdin=value)
    assert (first.returncode, again.returncode) == (0, 0), again.stderr.decode()
    assert json.loads(first.stdout)["points_milli"] > json.loads(again.stdout)["points_milli"] == 0
    assert json.loads(again.stdout)["verdicts"] == {"duplicate": 2}


def test_without_waiting_the_broker_has_them(points, platform) -> None:
    def in_intake() -> int:
        return sum(topic == "intake.metro" for topic, *_ in platform.committed_records())

    before = in_intake()
    done = points("send", "-", "--as", "metro", "--no-wait", "--json", stdin=line(3_100) + line(3_101))
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["sent"] == 2
    assert in_intake() == before + 2


def test_outcomes_are_shown_as_the_app_gets_them_each_once(points) -> None:
    assert points("send", "-", "--as", "metro", stdin=line(3_200)).returncode == 0
    done = points("outcomes", "metro", "--json")
    assert done.returncode == 0, done.stderr.decode()
    everything = [json.loads(text) for text in done.stdout.splitlines()]
    assert all(list(outcome) == list(OUTCOME_FIELDS) for outcome in everything)
    places = [(o["shard"], o["seq"], o["row"]) for o in everything]
    assert len(set(places)) == len(places)
    newest = json.loads(points("outcomes", "metro", "--json", "--last", "1").stdout)
    assert newest["report_id"] == json.loads(line(3_200))["report_id"]
    shown = points("outcomes", "metro", "--last", "2").stdout.decode().splitlines()
    assert len(shown) == 3
    assert newest["report_id"] in shown[-1]


def test_following_shows_what_comes_and_ends_with_ctrl_c(points) -> None:
    process = points.start("outcomes", "metro", "--follow", "--last", "1", stdout=PIPE)
    try:
        assert b"report_id" in process.stdout.readline()
        process.stdout.readline()  # the newest: from now on it follows
        assert points("send", "-", "--as", "metro", stdin=line(4_000)).returncode == 0
        assert json.loads(line(4_000))["report_id"].encode() in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_without_the_app_s_password_it_says_how_to_get_it(points) -> None:
    for command in (("send", "-", "--as", "taxi"), ("outcomes", "taxi")):
        done = points(*command, stdin=b"")
        assert done.returncode == 1
        assert b"POINTS_KAFKA_PASSWORD_APP_TAXI" in done.stderr


@pytest.mark.parametrize("command", [("send", "-", "--as", "metro"), ("outcomes", "metro")])
def test_a_wrong_password_is_told_at_once(points, command) -> None:
    begin_s = time.monotonic()
    done = points(*command, stdin=line(5_000), POINTS_KAFKA_PASSWORD_APP_METRO="wrong")
    assert done.returncode == 1
    assert b"does not let app-metro in: " in done.stderr
    assert b"uthentication" in done.stderr
    assert b"points app rotate" in done.stderr
    assert b"SECRET" not in done.stderr
    assert time.monotonic() - begin_s < 8, "librdkafka goes on trying for ever; it took 22 s"


def test_a_broker_that_is_not_there_is_told(points) -> None:
    away = {
        "POINTS_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "POINTS_REDIS_URL": "redis://:x@127.0.0.1:1",
        "POINTS_CLICKHOUSE_DSN": "clickhouse://points:x@127.0.0.1:1/points",
        "POINTS_KAFKA_SECURITY": "SASL_PLAINTEXT",
    }
    done = points("send", "-", "--as", "metro", stdin=line(5_001), **away)
    assert done.returncode == 1
    assert b"Kafka at 127.0.0.1:1 cannot be reached: " in done.stderr
    assert b"refused" in done.stderr
