"""What Java reads of batches that the real broker took from an app, ours reads, and nothing else."""

import asyncio
import hashlib
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from random import Random

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.produce import ProduceRequest

from schemas.limits import BATCH_RECORDS_MAX, BATCH_UNPACKED_BYTES_MAX
from schemas.topics import intake_topic
from stream.batches.raw_fetch import RawConsumer
from stream.batches.reader import Unreadable, batches_of, values_of
from stream.batches.unpack import CUT_OFF, TOO_LARGE, UnpackError, unpack
from tests.batches import faults
from tests.batches.kinds import HAND_MADE
from tests.batches.making import SNAPPY, Made, records
from tests.broker.conftest import Platform
from tests.clients import toolchains

pytestmark = pytest.mark.stack
TAKEN = 500
SOURCE = TopicPartition(intake_topic("metro"), 0)
JAVA = Path(__file__).with_name("java") / "App.java"
Value = tuple[int, str]  # its bytes and their hash


def made() -> Iterator[tuple[str, Made]]:
    """The hand-made ones, then the fuzzer's for ever; without those that end the broker's process."""
    rng = Random(9)
    fuzzed = ((kind, make(rng)) for _ in count() for kind, make in faults.APP_KINDS.items())
    return ((kind, batch) for kind, batch in chain(HAND_MADE.items(), fuzzed) if not says_too_much(batch))


def says_too_much(batch: Made) -> bool:
    """snappy-java sets aside what a block says that it has or unpacks to: 80 bytes may say 2 GiB."""
    if batch.codec != SNAPPY:
        return False
    try:
        unpack(SNAPPY, batch.payload, BATCH_UNPACKED_BYTES_MAX)
    except UnpackError as error:
        return str(error) in (CUT_OFF, TOO_LARGE)
    return False


def seen(value: bytes) -> Value:
    return len(value), hashlib.sha256(value).hexdigest()[:16]


async def send(client: AIOKafkaClient, data: bytes) -> int | None:
    """The offset that the broker gave to a batch; None if it refused it."""
    node = client.cluster.leader_for_partition(SOURCE)
    request = ProduceRequest(None, -1, 30_000, [(SOURCE.topic, [(SOURCE.partition, data)])])
    try:
        [(_, [(_, error, offset, *_)])] = (await client.send(node, request)).topics
    except KafkaConnectionError:  # what the broker did not foresee, it answers by hanging up
        return None
    return None if error else offset


async def send_all(platform: Platform) -> dict[tuple[int, int], str]:
    """Produces good batches and one of each that the broker takes between them: the kind of each span."""
    client = AIOKafkaClient(**platform.settings.kafka_client("app-metro"))
    await client.bootstrap()
    client.add_topic(SOURCE.topic)
    await client.force_metadata_update()
    spans: dict[tuple[int, int], str] = {}
    for kind, batch in made():
        base = await send(client, batch.sent())
        if base is not None:
            spans[base, base + (batch.count if batch.offsets is None else batch.offsets)] = kind
            good = Made(records([b"good %d" % base]), 1)
            assert await send(client, good.sent()) == max(spans)[1]
            spans[max(spans)[1], max(spans)[1] + 1] = "good between"
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
