"""The ledger topic, and the topics of outcomes, over aiokafka."""

import asyncio
from collections.abc import AsyncIterator

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, OffsetOutOfRangeError, RecordTooLargeError

from schemas.block import Block
from schemas.ledger_record import LedgerRecord, headers_of, read_record
from schemas.limits import BLOCK_BYTES_MAX
from schemas.outcome import Message
from schemas.topics import LEDGER
from sinks.ports import BlockTooLarge, Doubt, LedgerGap, Topics, known

log = structlog.get_logger()
# Longer than any broker hiccup worth waiting for; a produce that takes longer is a doubt, settled by reading.
APPEND_TIMEOUT_S = 30.0


class KafkaLedger:
    """`Ledger` over Kafka. One idempotent producer a shard: a doubt about one never disturbs another."""

    def __init__(self, client: dict) -> None:
        self._client = client
        self._producers: dict[int, AIOKafkaProducer] = {}

    async def append(self, block: Block) -> int:
        value, headers = block.value, headers_of(block.record)
        try:
            producer = await self._producer(block.meta.shard)
            sent = producer.send_and_wait(LEDGER, value, partition=block.meta.shard, headers=headers)
            metadata = await asyncio.wait_for(sent, APPEND_TIMEOUT_S)
        except (MessageSizeTooLargeError, RecordTooLargeError) as error:  # certain, and for ever: no doubt
            raise BlockTooLarge(f"a block of {len(value)} bytes is larger than the ledger takes") from error
        except (KafkaError, TimeoutError, OSError) as error:
            raise Doubt(f"ledger append: {error!r}") from error
        return metadata.offset

    async def _producer(self, shard: int) -> AIOKafkaProducer:
        if shard not in self._producers:
            producer = AIOKafkaProducer(
                **self._client,
                acks="all",
                enable_idempotence=True,
                linger_ms=0,
                max_batch_size=BLOCK_BYTES_MAX,
                max_request_size=BLOCK_BYTES_MAX,
                request_timeout_ms=int(APPEND_TIMEOUT_S * 1_000),
            )
            await producer.start()
            self._producers[shard] = producer
        return self._producers[shard]

    async def renew(self, shard: int) -> None:
        if producer := self._producers.pop(shard, None):
            await _stop(producer)

    async def end(self, shard: int) -> int:
        async with _reader(self._client, shard) as consumer:
            return await _end(consumer, shard)

    async def read(self, shard: int, start: int, end: int) -> AsyncIterator[tuple[int, LedgerRecord]]:
        if start >= end:
            return
        async with _reader(self._client, shard) as consumer:
            consumer.seek(TopicPartition(LEDGER, shard), start)
            while start < end:
                try:
                    fetched = await consumer.getmany(timeout_ms=1_000)
                except OffsetOutOfRangeError as error:  # waiting for it would never end
                    raise LedgerGap(f"ledger offset {start} does not exist any more") from error
                except KafkaError as error:
                    raise Doubt(f"ledger read: {error!r}") from error
                for records in fetched.values():
                    for record in records:
                        if record.offset >= end:
                            return
                        start = record.offset + 1
                        yield record.offset, read_record(record.value, list(record.headers))

    async def close(self) -> None:
        """Stops all producers."""
        for shard in list(self._producers):
            await self.renew(shard)


class _reader:
    """A consumer of one ledger partition, outside any group."""

    def __init__(self, client: dict, shard: int) -> None:
        self._consumer = AIOKafkaConsumer(
            **client,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=BLOCK_BYTES_MAX,
            fetch_max_wait_ms=50,
        )
        self._consumer.assign([TopicPartition(LEDGER, shard)])

    async def __aenter__(self) -> AIOKafkaConsumer:
        try:
            await self._consumer.start()
        except (KafkaError, OSError) as error:
            await _stop(self._consumer)
            raise Doubt(f"ledger: {error!r}") from error
        return self._consumer

    async def __aexit__(self, *_: object) -> None:
        await _stop(self._consumer)


async def _end(consumer: AIOKafkaConsumer, shard: int) -> int:
    partition = TopicPartition(LEDGER, shard)
    try:
        return (await consumer.end_offsets([partition]))[partition]
    except (KafkaError, TimeoutError) as error:
        raise Doubt(f"ledger end: {error!r}") from error


async def _stop(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    """Ends a client that may be broken: what it still had in flight is settled by the ledger, not by it."""
    try:
        await asyncio.wait_for(client.stop(), 5)
    except (KafkaError, TimeoutError, OSError) as error:
        log.warning("a Kafka client did not stop cleanly", error=repr(error))


class KafkaPublisher:
    """`Publisher` over Kafka: one producer for all shards and apps, whole batches at a time."""

    def __init__(self, client: dict, topics: Topics) -> None:
        self._client, self._topics = client, topics
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connects."""
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                **self._client,
                acks="all",
                compression_type="zstd",  # half of lz4's size, and a fifth of its time at aiokafka's level 9
                max_batch_size=1 << 20,
                linger_ms=0,
            )
            await self._producer.start()

    async def publish(self, shard: int, messages: dict[str, list[Message]]) -> set[str]:
        # Asked first: a producer waits 40 s for a topic that does not exist, and nobody else could publish.
        there = await self._topics.ids(list(messages))
        try:
            sent = [await self._send(topic, shard, messages[topic]) for topic in there]
            for futures in sent:
                for future in futures:
                    await asyncio.wait_for(future, APPEND_TIMEOUT_S)
        except (KafkaError, TimeoutError, OSError) as error:
            raise Doubt(f"publish: {error!r}") from error
        return messages.keys() - there.keys()

    async def _send(self, topic: str, shard: int, messages: list[Message]) -> list[asyncio.Future]:
        producer, futures = self._producer, []
        assert producer is not None, "it is started before it publishes"
        batch = producer.create_batch()
        for message in messages:
            if batch.append(key=message.key, value=message.value, timestamp=None) is None:
                futures.append(await producer.send_batch(batch, topic, partition=shard))
                batch = producer.create_batch()
                batch.append(key=message.key, value=message.value, timestamp=None)
        futures.append(await producer.send_batch(batch, topic, partition=shard))
        for future in futures:
            future.add_done_callback(known)
        return futures

    async def close(self) -> None:
        """Stops the producer."""
        if self._producer is not None:
            await _stop(self._producer)
