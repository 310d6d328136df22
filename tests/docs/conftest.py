"""One platform for all pages: the embedded stack, both workers, a few hundred reports of three days."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer

from loadtest.apps import with_apps
from loadtest.environment import inherited
from stream.embedded import processes
from stream.errors import OperatorError
from stream.operate import stack as embedded
from stream.operate.sql import ask, endpoint_of
from stream.settings import Settings
from tests.docs.traffic import DAYS, Sender, uid_of

WORKERS = ("intake", "archive")
BIN = Path(sys.executable).parent


class Failed(Exception):
    """A `points` command that failed."""


class Platform:
    """What the pages' commands run against. `uid` is a person who has points."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings: Settings = with_apps(embedded.up(home, env={"POINTS_SIMULATED_CLOCK": "1"}))
        self.uid = uid_of(0)

    @property
    def environment(self) -> dict[str, str]:
        """For a reader's shell, whose own settings of another platform are left out."""
        outside = inherited()
        path = f"{BIN}{os.pathsep}{outside.get('PATH', '')}"
        password = {"POINTS_KAFKA_PASSWORD_APP_METRO": self.settings.password("app-metro")}
        return {**outside, **password, "PATH": path, "POINTS_HOME": str(self.home)}

    @property
    def app_environment(self) -> dict[str, str]:
        """What docs/apps.md says that an app is given."""
        kafka = self.settings.librdkafka("app-metro")
        return {
            **self.environment,
            "KAFKA_BOOTSTRAP": kafka["bootstrap.servers"],
            "KAFKA_SECURITY": kafka["security.protocol"],
            "KAFKA_MECHANISM": kafka["sasl.mechanism"],
            "KAFKA_USER": kafka["sasl.username"],
            "KAFKA_PASSWORD": kafka["sasl.password"],
        }

    def points(self, *arguments: str) -> str:
        """The output of one `points` command; raises `Failed` if it does not succeed."""
        done = subprocess.run(
            [BIN / "points", *arguments], env=self.environment, capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            raise Failed(f"points {arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def query(self, sql: str) -> list[dict]:
        """Rows of the archive, asked without the command: it takes a second to start."""
        try:
            body, _ = ask(endpoint_of(self.settings), sql, "JSON")
        except OperatorError as error:
            raise Failed(str(error)) from error
        return json.loads(body)["data"]

    def analyst(self) -> tuple[str, str]:
        """Where the analyst `anna` asks, and a new password of hers."""
        known = "anna" in self.points("analyst", "list")
        arguments = ("rotate", "anna") if known else ("add", "anna", "--sees", "persons")
        shown = dict(line.split() for line in self.points("analyst", *arguments).splitlines())
        return shown["url"], shown["password"]

    def balances(self) -> tuple[int, int]:
        """The person's balance in Redis and in ClickHouse, in 1/1000 point."""
        in_redis = json.loads(self.points("balance", "--json", self.uid))["balance_milli"]
        in_archive = self.query(f"SELECT balance_milli FROM balances WHERE uid = '{self.uid}'")
        return in_redis, int(in_archive[0]["balance_milli"]) if in_archive else 0

    def archived(self) -> int:
        """Records of apps in the archive."""
        return int(self.query("SELECT count() AS n FROM entries WHERE app != ''")[0]["n"])

    def clocks_set(self) -> int:
        """Clock commands that are in force."""
        set_ones = "SELECT count() AS n FROM entries WHERE verdict = 'command_applied' AND kind = 'clock'"
        return int(self.query(set_ones)[0]["n"])

    def outcome(self) -> dict:
        """The first outcome that the broker has for one of the apps."""
        kafka = self.settings.librdkafka("app-metro")
        consumer = Consumer({**kafka, "group.id": "app-metro.docs", "auto.offset.reset": "earliest"})
        consumer.subscribe(["outcomes.metro"])
        try:
            while not (message := consumer.poll(30)) or message.error():
                assert message, "no outcome"
            return json.loads(message.value())
        finally:
            consumer.close()

    def ensure(self) -> None:
        """Starts what does not run, whatever a page's commands did."""
        started = embedded.up(self.home, env={})
        self.settings = msgspec.structs.replace(started, credentials=self.settings.credentials)
        for name in WORKERS:
            if not self.runs(name):
                (self.home / name).mkdir(exist_ok=True)
                argv = [sys.executable, "-m", "stream.cli", "worker", name]
                processes.start(self.home, name, argv, self.environment, None)
        self.wait_for(lambda: bool(self.query("SELECT 1")))

    def stop_worker(self, name: str) -> None:
        """Ends a worker, so that a page can start it."""
        if process := processes.find(self.home, name):
            processes.stop(self.home, name, process, 30)

    def runs(self, name: str) -> bool:
        """Whether a worker has told the data folder that it runs."""
        return processes.find(self.home, name) is not None

    def wait_for(self, what: Callable[[], bool], timeout_s: float = 60) -> None:
        """Polls an outside state, which has no event to wait for; a command that fails may succeed later."""
        end_s, told = time.monotonic() + timeout_s, "it was not so"
        while time.monotonic() < end_s:
            try:
                if what():
                    return
            except Failed as failed:
                told = str(failed)
            time.sleep(0.2)
        logs = "\n".join(processes.tail(self.home, name) for name in WORKERS)
        raise AssertionError(f"not within {timeout_s} s: {told}\n{logs}")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform after three days; whatever a page did to it, it is put right by `ensure`."""
    home = tmp_path_factory.mktemp("docs") / "points"
    try:
        platform = Platform(home)
        platform.ensure()
        sender = Sender(platform.settings)
        for days, noon in enumerate(DAYS, 1):
            sender.set_clock(noon)
            platform.wait_for(lambda due=days * platform.settings.shards: platform.clocks_set() == due)
            sender.send_day(noon)
            platform.wait_for(lambda: platform.archived() == sender.sent)
        yield platform
    finally:
        embedded.down(home)
