"""An app is killed again and again while it hands over, sends and is answered."""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.verdicts import CODES
from sinks.app_client.outbox import Outbox
from stream.embedded import kafka
from tests.app_client import an_app

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
COUNT = 600
KILLS = 8


class App:
    """The lives of one app on one outbox; `handed` and `told` are the ids of which it has spoken."""

    def __init__(self, platform, outbox_path: Path) -> None:
        self._outbox_path = outbox_path
        self._environment = os.environ | {
            "KAFKA_BOOTSTRAP": platform.settings.kafka_apps_bootstrap,
            "KAFKA_PASSWORD": platform.settings.password("app-metro"),
            "AT_S": str(time.time() - 60),
            "KIND": f"trip-{time.monotonic_ns()}",
        }
        self.handed: dict[int, str] = {}
        self.told: set[str] = set()
        self.done = False

    def start(self, go_on: int, count: int) -> None:
        """A new life, in which it may hand over `go_on` behaviours at once."""
        arguments = [an_app.__file__, str(self._outbox_path), str(len(self.handed)), str(count)]
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._told_now: set[str] = set()
        self.go_on(go_on)

    def go_on(self, count: int) -> None:
        """Lets it hand over so many more."""
        self._process.stdin.write("\n" * count)
        self._process.stdin.flush()

    def listen(self) -> str:
        """Waits for one thing that it says: the word."""
        return self._hear(self._process.stdout.readline())

    def _hear(self, line: str) -> str:
        what, *rest = line.split()
        if what == "handed":
            assert int(rest[0]) == len(self.handed)
            self.handed[len(self.handed)] = rest[1]
        elif what == "told":
            assert rest[0] not in self._told_now, "told twice by one process"
            self._told_now.add(rest[0])
            self.told.add(rest[0])
        self.done = what == "done"
        return what

    def end(self) -> None:
        """For a test that failed in the middle of a life."""
        self._process.kill()
        self._process.wait()

    def kill(self) -> int:
        """kill -9. The number of records that are in flight."""
        self._process.kill()
        with self._process:  # waits for it, and closes its pipes
            for line in self._process.stdout:  # what it has said before it died
                self._hear(line)
        outbox = Outbox(self._outbox_path, "metro", COUNT)
        try:
            return outbox.pending().get("in flight", 0)
        finally:
            outbox.close()


@pytest.fixture
def app(platform, outbox_path) -> Iterator[App]:
    app = App(platform, outbox_path)
    yield app
    app.end()


def test_killed_at_any_point_everything_handed_over_is_credited_once_and_answered_so(
    platform, outbox_path, app
) -> None:
    """kill -9 at random points: one credit and the right verdict for each, in the file and the ledger."""
    chance = random.Random(7)
    for life in range(KILLS + 1):
        app.start(COUNT, COUNT)
        words = chance.randrange(1, 3 * COUNT // KILLS) if life < KILLS else 3 * COUNT
        for _ in range(words):
            if app.listen() == "done":
                break
        app.kill()
    assert app.done
    assert app.told == set(app.handed.values())
    assert len(app.handed) == COUNT
    check(platform, outbox_path, app)


def test_killed_while_records_are_in_flight_their_answer_is_that_of_the_first_copy(
    platform, outbox_path, app
) -> None:
    """The broker stands still, the app dies, the broker wakes up and takes what it was sent."""
    broker, lost, count = kafka.find(platform.settings.home), 0, 10
    app.start(1, count)
    while app.listen() != "told":
        pass
    while not lost:  # it takes the client some 50 ms to send; a slow machine may need more
        broker.suspend()
        try:
            app.go_on(1)
            while app.listen() != "handed":
                pass
            time.sleep(1)
            lost = app.kill()
        finally:
            broker.resume()
        app.start(0, count)
        while app.listen() != "told":
            pass
    app.go_on(count)
    while app.listen() != "done":
        pass
    app.kill()
    assert app.told == set(app.handed.values())
    assert check(platform, outbox_path, app) > 0, "the broker took no first copy: the test shows nothing"


def check(platform, outbox_path: Path, app: App) -> int:
    """The outbox says of each record what the ledger says: credited, once, with these points. The number of
    duplicates in the ledger."""
    rows: Counter = Counter()
    credited_milli: dict[str, int] = {}
    for block in platform.accepted():
        columns = (block.rows.column(name).to_pylist() for name in ("verdict", "report_id", "points_milli"))
        for verdict, report_id, points_milli in zip(*columns, strict=True):
            rows[report_id, CODES[verdict]] += 1
            if CODES[verdict] == "credited":
                credited_milli[report_id] = points_milli
    outbox = Outbox(outbox_path, "metro", COUNT)
    for report_id in app.handed.values():
        assert rows[report_id, "credited"] == 1
        answer = outbox.answer(report_id)
        assert (answer.verdict, answer.points_milli) == ("credited", credited_milli[report_id])
    outbox.close()
    return sum(rows[report_id, "duplicate"] for report_id in app.handed.values())
