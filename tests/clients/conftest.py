"""A platform in its normal time, and apps of it: programs of docs/apps.md, as they stand there or changed."""

import functools
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from confluent_kafka import Consumer, TopicPartition

from loadtest.apps import METRO
from schemas.topics import intake_topic, outcomes_topic
from stream.operate import stack as embedded
from stream.operate.platform.onboarding import app_principal, onboard, shards_without
from stream.settings import Settings
from tests.broker.conftest import Platform
from tests.clients import toolchains
from tests.clients.reports import json_lines
from tests.docs.blocks import ROOT, fenced_blocks

APP = METRO.id
INTAKE = intake_topic(APP)
PAGE = ROOT / "docs" / "apps.md"
BLOCKS = fenced_blocks(PAGE)
Change = tuple[str, str]


class AppAccount:
    """What the operator hands to an app, and what the app sees of the platform with it."""

    def __init__(self, settings: Settings) -> None:
        self.librdkafka = settings.librdkafka(app_principal(APP))
        self.kafka_client = settings.kafka_client(app_principal(APP))
        self.shards = settings.shards

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the programs of docs/apps.md read."""
        names = {
            "KAFKA_BOOTSTRAP": "bootstrap.servers",
            "KAFKA_SECURITY": "security.protocol",
            "KAFKA_MECHANISM": "sasl.mechanism",
            "KAFKA_USER": "sasl.username",
            "KAFKA_PASSWORD": "sasl.password",
        }
        return {**os.environ, **{name: self.librdkafka[key] for name, key in names.items()}}

    def outcomes_of(self, sent: list[dict], send: Callable[[list[dict]], object]) -> list[dict]:
        """The outcomes that come after these reports were sent, one for each."""
        ids = {report["report_id"] for report in sent}
        group = {"group.id": f"{app_principal(APP)}.test", "enable.auto.commit": False}
        with closing(Consumer({**self.librdkafka, **group})) as consumer:
            partitions = [TopicPartition(outcomes_topic(APP), shard) for shard in range(self.shards)]
            for partition in partitions:
                partition.offset = consumer.get_watermark_offsets(partition, timeout=20)[1]
            consumer.assign(partitions)
            send(sent)
            found = []
            while len(found) < len(sent):
                message = consumer.poll(30)
                assert message, f"{len(sent) - len(found)} reports without an outcome"
                assert not message.error(), message.error()
                outcome = json.loads(message.value())
                if outcome["report_id"] in ids:
                    found.append(outcome)
            return found


def documented(language: str, holding: str = "") -> str:
    """The one program of docs/apps.md in a language that holds this text."""
    (text,) = (block.text for block in BLOCKS if block.language == language and holding in block.text)
    return text


@pytest.fixture(scope="package")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppAccount]:
    """An app's account at a running platform with one intake worker."""
    home = tmp_path_factory.mktemp("clients")
    platform = Platform(onboard(embedded.up(home, env={}), METRO))
    try:
        platform.worker()
        platform.wait_for(lambda: not shards_without(platform.settings, METRO))
        yield AppAccount(platform.settings)
    finally:
        platform.end_workers()
        embedded.down(home)


@pytest.fixture(scope="package")
def command(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """`command(language, *changes)`: how to run a documented program, changed where it has these texts."""

    @functools.cache
    def command(language: str, *changes: Change) -> list[str]:
        text = documented(language, "func main" if language == "go" else "")
        for old, new in changes:
            assert text.count(old) == 1, f"docs/apps.md has not just one {old!r} in {language}"
            text = text.replace(old, new)
        work = tmp_path_factory.mktemp(language)
        if language == "go":
            return toolchains.go({"app.go": text}, work)
        return {"java": toolchains.java, "js": toolchains.node}[language](text, work)

    return command


@pytest.fixture
def run(account: AppAccount) -> Callable[..., subprocess.CompletedProcess]:
    """`run(argv, sent)` lets a program report."""

    def run(argv: list[str], sent: list[dict]) -> subprocess.CompletedProcess:
        return subprocess.run(
            argv, env=account.environment, input=json_lines(sent), capture_output=True, text=True, timeout=90
        )

    return run


@pytest.fixture
def app(run: Callable, command: Callable) -> Callable[..., list[dict]]:
    """`app(language, sent, *changes)`: the outcomes that a documented program prints for these reports."""

    def app(language: str, sent: list[dict], *changes: Change) -> list[dict]:
        done = run(command(language, *changes), sent)
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return app
