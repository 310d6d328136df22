"""What an app gets, to the record, from a client left as it is, and that what docs/apps.md sets cures it."""

import asyncio
import json
import zlib
from collections.abc import Callable
from functools import partial

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.shards import shards_of
from tests.clients import toolchains
from tests.clients.conftest import INTAKE, PAGE, documented
from tests.clients.reports import assert_cured, reports, verdicts

pytestmark = pytest.mark.stack
LIBRDKAFKA = {"partitioner": "murmur2_random", "enable.idempotence": True}


def by_crc32(uid: str, shards: int) -> int:
    """librdkafka's default."""
    return zlib.crc32(uid.encode()) % shards


def by_fnv1a(uid: str, shards: int) -> int:
    """sarama's default: of a negative remainder the amount."""
    sum_ = 0x811C9DC5
    for byte in uid.encode():
        sum_ = (sum_ ^ byte) * 0x01000193 & 0xFFFFFFFF
    return abs(sum_ - (1 << 32)) % shards if sum_ >> 31 else sum_ % shards


def elsewhere(sent: list[dict], shards: int, partition: Callable[[str, int], int]) -> int:
    """How many reports another hash sends to another partition than their person's."""
    uids = [report["uid"] for report in sent]
    return sum(partition(uid, shards) != due for uid, due in zip(uids, shards_of(uids, shards), strict=True))


def by_librdkafka(account, sent: list[dict], **settings: object) -> None:
    producer = Producer({**account.librdkafka, **settings})
    for report in sent:
        producer.produce(INTAKE, json.dumps(report), key=report["uid"])
    assert producer.flush(30) == 0


def check_cured(account, sent: list[dict], by_default: Callable, by_setting: Callable) -> int:
    """Sends first so, then so; returns how many were misrouted first."""
    before = verdicts(sent, account.outcomes_of(sent, by_default), account.shards)
    assert_cured(before, verdicts(sent, account.outcomes_of(sent, by_setting), account.shards))
    return before["misrouted"]


def test_librdkafka_hashes_by_crc32_unless_told(account) -> None:
    sent = reports("librdkafka")
    send = partial(by_librdkafka, account)
    misrouted = check_cured(account, sent, send, partial(send, **LIBRDKAFKA))
    assert misrouted == elsewhere(sent, account.shards, by_crc32)
    assert f"CRC32: {misrouted} misrouted" in PAGE.read_text("utf-8")


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_every_codec_of_librdkafka_is_read(account, codec: str) -> None:
    sent = reports(f"librdkafka-{codec}", 8)
    settings = {**LIBRDKAFKA, "compression.type": codec}
    outcomes = account.outcomes_of(sent, partial(by_librdkafka, account, **settings))
    assert verdicts(sent, outcomes, account.shards) == {"credited": len(sent)}


def test_no_app_may_use_transactions(account) -> None:
    producer = Producer({**account.librdkafka, **LIBRDKAFKA, "transactional.id": "app-metro", "log_level": 0})
    with pytest.raises(KafkaException) as refused:
        producer.init_transactions(30)
    assert refused.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


def test_aiokafka_hashes_by_murmur2(account) -> None:
    async def send(sent: list[dict], **settings: object) -> None:
        async with AIOKafkaProducer(**account.kafka_client, **settings) as producer:
            for report in sent:
                await producer.send_and_wait(INTAKE, json.dumps(report).encode(), key=report["uid"].encode())

    sent = reports("aiokafka")
    for settings, verdict in ({}, "credited"), ({"acks": "all", "enable_idempotence": True}, "duplicate"):
        outcomes = account.outcomes_of(
            sent, lambda sent, settings=settings: asyncio.run(send(sent, **settings))
        )
        assert verdicts(sent, outcomes, account.shards) == {verdict: len(sent)}


@pytest.fixture(scope="module")
def producers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """go/producers.go, with the partitioner that docs/apps.md has for sarama."""
    work = tmp_path_factory.mktemp("producers")
    main = (toolchains.HERE / "go" / "producers.go").read_text()
    (program,) = toolchains.go({"producers.go": main, "murmur2.go": documented("go", "sarama")}, work)
    return program


@pytest.mark.parametrize("client", ["sarama", "kafka-go"])
def test_other_clients_of_go_are_cured(client: str, run, producers: str, account) -> None:
    def send(settings: str, sent: list[dict]) -> None:
        done = run([producers, client, settings], sent)
        assert done.returncode == 0, done.stderr

    sent = reports(client)
    misrouted = check_cured(account, sent, partial(send, "default"), partial(send, "documented"))
    if client == "sarama":
        assert misrouted == elsewhere(sent, account.shards, by_fnv1a)
        assert f"FNV-1a: {misrouted} misrouted" in PAGE.read_text("utf-8")
