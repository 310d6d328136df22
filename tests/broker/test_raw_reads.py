"""Of transactions, seeks and small fetches our reader says what aiokafka's own consumer says."""

import asyncio
import contextlib
from random import Random

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as ConfluentPartition

from schemas.topics import intake_topic
from stream.batches.reader import RawFetch, batches_of, begins, values_of
from stream.engine.raw_consumer import RawConsumer
from tests.broker.conftest import Platform

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
TOPIC = intake_topic("metro")
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
READS = 104
FETCH_BYTES = (1, 300, 3_000, 1 << 20)  # of one byte, the broker gives a whole batch
Row = tuple[int, bytes]


def write(platform: Platform, rng: Random) -> tuple[Producer, dict[TopicPartition, int]]:
    """Transactions, committed, aborted and interleaved, and plain records between.

    The last transaction stays open: its producer, and its first offset in each partition.
    """
    quiet = {"log_level": 0, "linger.ms": 0, "transaction.timeout.ms": 300_000}
    producers = [
        platform.producer(
            "admin", **{"transactional.id": f"t{n}", "compression.type": CODECS[n + 2]}, **quiet
        )
        for n in range(3)
    ]
    plain = [platform.producer("app-metro", **{"compression.type": codec}, log_level=0) for codec in CODECS]
    for producer in producers:
        producer.init_transactions(30)
    is_open = [False] * len(producers)
    for step in range(60):
        n = rng.randrange(len(producers))
        if not is_open[n]:
            producers[n].begin_transaction()
            is_open[n] = True
        producer = producers[n] if rng.random() < 0.7 else rng.choice(plain)
        for i in range(rng.choice((1, 2, 5, 20))):
            value = None if rng.random() < 0.05 else b"%d %d " % (step, i) + rng.randbytes(rng.randrange(90))
            producer.produce(TOPIC, value, partition=rng.randrange(platform.settings.shards))
        producer.flush()
        if rng.random() < 0.4:
            end(producers[n], rng)
            is_open[n] = False
    for producer in (producer for producer, still in zip(producers, is_open, strict=True) if still):
        end(producer, rng)
    offsets: dict[TopicPartition, int] = {}
    producers[0].begin_transaction()
    for partition in range(platform.settings.shards):
        tp = TopicPartition(TOPIC, partition)
        producers[0].produce(
            TOPIC,
            b"open",
            partition=partition,
            on_delivery=lambda _, message, tp=tp: offsets.update({tp: message.offset()}),
        )
    producers[0].flush()
    return producers[0], offsets


def end(producer: Producer, rng: Random) -> None:
    if rng.random() < 0.6:
        producer.commit_transaction()
    else:
        producer.abort_transaction()


def rows_of(fetch: RawFetch) -> list[Row]:
    assert begins(fetch) <= fetch.first < fetch.next <= fetch.last_stable_offset
    rows = []
    for batch in batches_of(fetch):
        rows += zip(range(batch.base, batch.next), values_of(batch), strict=True)
    return [row for row in rows if row[0] >= fetch.first]


async def read(
    consumer: AIOKafkaConsumer, tp: TopicPartition, first: int, end: int
) -> tuple[list[Row], int, ...]:
    """The rows from `first` to `end`; where that leaves position, high watermark and last stable offset."""
    consumer.assign([tp])  # nothing of another partition that waits delays its fetches
    consumer.seek(tp, first)
    rows, position = [], first
    while position < end:
        for item in (await consumer.getmany(tp, timeout_ms=1000)).get(tp, ()):
            if isinstance(item, RawFetch):
                assert item.first == position, "a fetch does not continue the one before it"
                rows += rows_of(item)
                position = item.next
            else:
                rows.append((item.offset, item.value or b""))
        position = await consumer.position(tp)
    return rows, position, consumer.highwater(tp), consumer.last_stable_offset(tp)


def stable(platform: Platform, ends: dict[TopicPartition, int]) -> bool:
    """Whether all markers are there: they come some time after their transaction."""
    committed = {"isolation.level": "read_committed", "group.id": "stable"}
    consumer = Consumer(platform.settings.librdkafka("admin") | committed)
    found = {
        tp: consumer.get_watermark_offsets(ConfluentPartition(tp.topic, tp.partition), timeout=20)[1]
        for tp in ends
    }
    consumer.close()
    return found == ends


async def compare(platform: Platform, rng: Random, ends: dict[TopicPartition, int]) -> int:
    """Reads from many places with fetches of many sizes; how many reads there were."""
    tps = list(ends)
    client = platform.settings.kafka_client("intake") | {"isolation_level": "read_committed"}
    reads = 0
    async with contextlib.AsyncExitStack() as stack:
        for fetch_bytes in FETCH_BYTES:
            pair = []
            for kind in (AIOKafkaConsumer, RawConsumer):
                options = {"max_partition_fetch_bytes": fetch_bytes, "fetch_max_wait_ms": 5}
                consumer = await stack.enter_async_context(kind(**client, group_id=None, **options))
                pair.append(consumer)
            for i in range(READS // len(FETCH_BYTES)):
                tp = tps[i % len(tps)]
                first = 0 if i == 0 else ends[tp] - rng.randint(1, ends[tp] if fetch_bytes > 300 else 30)
                due, found = [await read(consumer, tp, first, ends[tp]) for consumer in pair]
                assert found == due
                assert found[1] == ends[tp] == found[3] < found[2]
                reads += 1
    return reads


def test_no_read_differs_from_read_committed(platform: Platform) -> None:
    rng = Random(5)
    still_open, ends = write(platform, rng)
    platform.wait_for(lambda: stable(platform, ends))
    assert asyncio.run(compare(platform, rng, ends)) == READS
    still_open.abort_transaction()
