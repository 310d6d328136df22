"""Whatever crashes inside a worker, Faust's own services included: the process is gone within seconds, says
why and what to do, and has an exit code that makes a supervisor start it again. SIGTERM always ends it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loadtest.apps import with_apps
from stream.operate import stack as embedded
from stream.settings import Settings
from tests.broker.conftest import Platform
from tests.broker.faulty_worker import CRASHES
from tests.broker.traffic import send

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


class FaultyWorker:
    """A worker process with one fault of tests/broker/faulty_worker.py."""

    def __init__(self, home: Path, fault: str) -> None:
        self._log = home / "logs" / f"{fault}.log"
        with self._log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.broker.faulty_worker", fault, "worker", "intake"],
                env=os.environ | {"POINTS_HOME": str(home)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, text: str, timeout_s: float = 60) -> None:
        """Until its log has this text."""
        end_s = time.monotonic() + timeout_s
        while text not in self.log():
            assert time.monotonic() < end_s, self.log()
            assert self.process.poll() is None or text in self.log(), self.log()
            time.sleep(0.05)

    def log(self) -> str:
        return self._log.read_text()

    def last_line(self) -> dict:
        return json.loads(self.log().splitlines()[-1])


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack of one shard with records that wait."""
    home = tmp_path_factory.mktemp("crash")
    try:
        settings = with_apps(embedded.up(home, env={"POINTS_SIMULATED_CLOCK": "1", "POINTS_SHARDS": "1"}))
        report(settings, 100)
        yield settings
    finally:
        embedded.down(home)


def report(settings: Settings, count: int) -> None:
    """Records that wait for a decision."""
    producer = Platform(settings).producer("app-metro")
    send(producer, "metro", 0, count)
    producer.flush()


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[[str], FaultyWorker]]:
    started: list[FaultyWorker] = []

    def start(fault: str) -> FaultyWorker:
        started.append(FaultyWorker(settings.home, fault))
        return started[-1]

    yield start
    for worker in started:
        worker.process.kill()
        worker.process.wait()


# `agent` comes first: it is met with records that nobody has decided yet.
@pytest.mark.parametrize("fault", sorted((f.__name__ for f in CRASHES), key=lambda name: name != "agent"))
def test_a_crash_ends_the_process_at_once_and_says_what_to_do(fault: str, start) -> None:
    worker = start(fault)
    worker.wait_for("injected")
    assert worker.process.wait(5) == 1
    told = worker.last_line()
    assert told["event"] == "worker stopped"
    assert told["reason"]
    assert told["todo"]


def test_a_commit_that_kafka_refuses_is_nothing(start, settings: Settings) -> None:
    """Also where its connection ends: a broker that dies takes no worker with it."""
    report(settings, 1)  # without a record there is no commit
    worker = start("refused_commit")
    worker.wait_for("injected")
    with pytest.raises(subprocess.TimeoutExpired):  # for as long as a crash may take to end it
        worker.process.wait(5)


def test_sigterm_ends_a_worker_whose_loop_stands_still(start) -> None:
    worker = start("blocked_loop")
    worker.wait_for("injected")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(10) == 1
    assert "did not stop within" in worker.last_line()["reason"]


def test_sigterm_ends_a_sound_worker_cleanly(start) -> None:
    worker = start("nothing")
    worker.wait_for("shard ready")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(10) == 0
    assert "\x1b" not in worker.log()
    assert all(json.loads(line) for line in worker.log().splitlines())
