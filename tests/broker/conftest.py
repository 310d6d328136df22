"""A stack of their own for tests that run the real workers and read the whole ledger."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from loadtest.apps import with_apps
from schemas.block import Block, open_block
from schemas.state import ZERO_HASH
from schemas.topics import COMMANDS, intake_topic
from sinks.kafka_ledger import KafkaLedger
from stream.operate.platform.kafka_admin import admin_client, apps_with_topics
from stream.settings import Settings

POINTS = (sys.executable, "-m", "stream.cli")


class Platform:
    """A running stack, its workers as real processes, and what the ledger says."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._workers: list[subprocess.Popen] = []

    def worker(self, kind: str = "intake", program: Sequence[str] = POINTS) -> subprocess.Popen:
        """Starts one worker process; its log lies beside the others' in home/logs."""
        log = (self.settings.home / "logs" / f"{kind}-test-{len(self._workers)}.log").open("w")
        process = subprocess.Popen(
            [*program, "worker", kind],
            env=os.environ | {"POINTS_HOME": str(self.settings.home)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self._workers.append(process)
        return process

    def end_workers(self) -> None:
        for process in self._workers:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self._workers:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def producer(self, principal: str, **config: object) -> Producer:
        return Producer({**self.settings.librdkafka(principal), "partitioner": "murmur2_random", **config})

    def accepted(self) -> list[Block]:
        """All blocks that a reader accepts, shard by shard, in order."""
        return asyncio.run(_accepted(self.settings))

    def rows(self) -> Counter:
        """How often each (topic, partition, offset) has a row; a row may cover a range of offsets."""
        return Counter(
            (block.meta.sources[row["source"]].topic, block.meta.shard, offset)
            for block in self.accepted()
            for row in block.rows.select(["source", "offset", "last_offset"]).to_pylist()
            if row["source"] >= 0
            for offset in range(row["offset"], row["last_offset"] + 1)
        )

    def sources(self) -> list[str]:
        """The intake topics of all apps, and the platform's commands."""
        apps = apps_with_topics(admin_client(self.settings))
        return [COMMANDS, *map(intake_topic, apps)]

    def committed_records(self) -> Counter:
        """Every record that a committed reader sees in the source topics."""
        consumer = Consumer(
            {**self.settings.librdkafka("admin"), "group.id": "check", "enable.auto.commit": False}
            | {"isolation.level": "read_committed", "enable.partition.eof": True}
        )
        partitions = [TopicPartition(t, p, 0) for t in self.sources() for p in range(self.settings.shards)]
        consumer.assign(partitions)
        found: Counter = Counter()
        ended: set = set()
        while len(ended) < len(partitions):
            message = consumer.poll(20)
            assert message is not None, "the broker does not answer"
            where = (message.topic(), message.partition())
            if message.error():
                ended.add(where)
            else:
                found[*where, message.offset()] += 1
        consumer.close()
        return found

    def wait_for(self, what: Callable[[], bool], timeout_s: float = 60) -> None:
        """Polls an outside state, which has no event to wait for."""
        end = time.monotonic() + timeout_s
        while not what():
            assert time.monotonic() < end, f"not within {timeout_s} s; worker logs:\n{self.logs()}"
            time.sleep(0.2)

    def wait_until_decided(self, records: int) -> None:
        """Until the ledger has rows of at least this many of the apps' records."""
        self.wait_for(lambda: sum(n for (t, *_), n in self.rows().items() if t != COMMANDS) >= records)

    def logs_of(self, kind: str) -> str:
        """All that the workers of a kind have logged."""
        folder: Path = self.settings.home / "logs"
        return "\n".join(p.read_text() for p in sorted(folder.glob(f"{kind}-test-*.log")))

    def logs(self) -> str:
        folder: Path = self.settings.home / "logs"
        return "\n".join(f"--- {p.name}\n{p.read_text()[-1500:]}" for p in folder.glob("*-test-*.log"))


async def _accepted(settings: Settings) -> list[Block]:
    ledger = KafkaLedger(settings.kafka_client("admin"))
    out = []
    for shard in range(settings.shards):
        head = ZERO_HASH
        async for _, record in ledger.read(shard, 0, await ledger.end(shard)):
            if record.follows(head):
                head = record.hash
                out.append(open_block(record))
    await ledger.close()
    return out


@pytest.fixture
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A fresh platform for one test; everything it started has ended afterwards."""
    from stream.operate import stack as embedded

    home = tmp_path_factory.mktemp("platform")
    platform = Platform(with_apps(embedded.up(home, env={"POINTS_SIMULATED_CLOCK": "1"})))
    try:
        yield platform
    finally:
        platform.end_workers()
        embedded.down(home)


@pytest.fixture
def points(platform: Platform) -> Callable[..., str]:
    """Runs `points` against the platform; returns what it printed, and checks how it ended."""

    def run(*arguments: str, ends: int = 0) -> str:
        done = subprocess.run(
            [Path(sys.executable).parent / "points", *arguments],
            env=os.environ | {"POINTS_HOME": str(platform.settings.home)},
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == ends, done.stdout + done.stderr
        return done.stderr if ends else done.stdout

    return run
