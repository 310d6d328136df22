"""What Java reads of batches that the real broker took from an app, ours reads, and nothing else."""

import asyncio
import hashlib
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from schemas.limits import BATCH_RECORDS_MAX, BATCH_UNPACKED_BYTES_MAX
from schemas.topics import intake_topic
from stream.batches.reader import Unreadable, batches_of, values_of
from stream.engine.raw_consumer import RawConsumer
from tests.batches.making import Made, records
from tests.broker.conftest import Platform
from tests.broker.raw_batches import client_of, made, send
from tests.clients import toolchains

pytestmark = pytest.mark.stack
TAKEN = 500
SOURCE = TopicPartition(intake_topic("metro"), 0)
JAVA = Path(__file__).with_name("java") / "App.java"
Value = tuple[int, str]  # its bytes and their hash


def seen(value: bytes) -> Value:
    return len(value), hashlib.sha256(value).hexdigest()[:16]


async def send_all(platform: Platform) -> dict[tuple[int, int], str]:
    """Produces good batches and one of each that the broker takes between them: the kind of each span."""
    client = await client_of(platform.settings, "metro")
    spans: dict[tuple[int, int], str] = {}
    for kind, batch in made():
        if (span := await send(client, SOURCE, batch)) is None:
            continue
        good = await send(client, SOURCE, Made(records([b"good %d" % span[0]]), 1))
        assert good == (span[1], span[1] + 1)
        spans |= {span: kind, good: "good between"}
        if len(spans) == 2 * TAKEN:
            break
    await client.close()
    return spans


async def read_all(platform: Platform, end: int) -> dict[tuple[int, int], list[bytes] | Unreadable]:
    """What ours reads: each batch by its span."""
    consumer = RawConsumer(
        **platform.settings.kafka_client("intake"), group_id=None, isolation_level="read_committed"
    )
    await consumer.start()
    consumer.assign([SOURCE])
    consumer.seek(SOURCE, 0)
    found, position = {}, 0
    while position < end:
        for fetches in (await consumer.getmany(timeout_ms=1000)).values():
            for fetch in fetches:
                assert fetch.first == position
                for batch in batches_of(fetch):
                    found[batch.base, batch.next] = values_of(batch)
                position = fetch.next
    await consumer.stop()
    return found


def java_reads(
    platform: Platform, spans: list[tuple[int, int]], work: Path
) -> list[tuple[dict[int, Value], str]]:
    """By offset, what a Java consumer reads of each span, and with what error it stops, if any."""
    command = toolchains.java(JAVA.read_text("utf-8"), work)
    client = platform.settings.kafka_client("admin")
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    settings = {
        "bootstrap.servers": client["bootstrap_servers"],
        "security.protocol": client["security_protocol"],
        "sasl.mechanism": client["sasl_mechanism"],
        "sasl.jaas.config": f'{login} username="admin" password="{client["sasl_plain_password"]}";',
        "isolation.level": "read_committed",
        "auto.offset.reset": "none",
        "fetch.max.wait.ms": "50",
    }
    file = work / "consumer.properties"
    file.write_text("\n".join(f"{key}={value}" for key, value in settings.items()))
    done = subprocess.run(
        [*command, str(file), SOURCE.topic, str(SOURCE.partition)],
        input="\n".join(f"{base} {following}" for base, following in spans),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [_parsed(line) for line in done.stdout.splitlines()]


def _parsed(line: str) -> tuple[dict[int, Value], str]:
    rows, _, error = line.partition("error ")
    values = {}
    for row in rows.split():
        offset, size, hashed = row.split(":")
        values[int(offset)] = int(size), hashed
    return values, error


def keeps_span_and_limits(span: tuple[int, int], values: dict[int, Value]) -> bool:
    size = sum(size for size, _ in values.values())
    is_span = list(values) == list(range(*span))
    return is_span and len(values) <= BATCH_RECORDS_MAX and size < BATCH_UNPACKED_BYTES_MAX


def test_what_java_reads_ours_reads_with_the_same_bytes(platform: Platform, tmp_path: Path) -> None:
    sent = asyncio.run(send_all(platform))
    ours = asyncio.run(read_all(platform, max(sent)[1]))
    assert list(ours) == sorted(sent), "not each acknowledged offset is in exactly one batch"
    outcomes: dict[str, Counter] = {}
    differences = []
    for span, (java, error) in zip(sent, java_reads(platform, list(sent), tmp_path), strict=True):
        mine = None if isinstance(ours[span], Unreadable) else [seen(value) for value in ours[span]]
        due = None if error or not keeps_span_and_limits(span, java) else list(java.values())
        if mine != due:
            differences.append((sent[span], span, ours[span] if mine is None else "read", error or len(java)))
        outcomes.setdefault(sent[span], Counter())["read" if mine is not None else "unreadable"] += 1
    for kind, counted in outcomes.items():
        print(f"{kind:45} {dict(counted)}")
    assert not differences, "\n".join(map(str, differences))
    assert outcomes["good between"] == {"read": TAKEN}
