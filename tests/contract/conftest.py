"""Each port in its two forms: in memory, and over the Redis and Kafka of a running stack (marked `stack`)."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from sinks.fingerprint import FINGERPRINT
from sinks.memory import MemoryLedger, MemoryPublisher, MemoryRedis, MemoryStore
from sinks.redis_keys import BUCKETS, Keys

_shards = itertools.count(100)
BOTH = ["memory", pytest.param("real", marks=pytest.mark.stack)]


class Loop:
    """One event loop for a whole test: clients belong to the loop in which they were made."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def __call__(self, awaitable: Awaitable) -> Any:
        async def wait() -> Any:
            return await awaitable

        return self._runner.run(wait())

    def close(self) -> None:
        self._runner.close()


@pytest.fixture
def run() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def shard() -> int:
    """A shard of the store that no other test uses."""
    return next(_shards)


class InMemory:
    """The server in memory, and what may happen to it."""

    def __init__(self) -> None:
        self._server = MemoryRedis()
        self.tear, self.spoil = self._server.tear, self._server.spoil

    def worker(self, projection: str = FINGERPRINT) -> MemoryStore:
        """The store of one more worker."""
        return MemoryStore(self._server, projection)

    def empty(self, shard: int) -> None:
        self._server.restore(shard, None)


class OnServer:
    """A Redis, and what may happen to it."""

    def __init__(self, run: Loop, url: str) -> None:
        from sinks.redis_connection import connect

        self._run, self._connect, self._url = run, connect, url
        self._admin = connect(url)
        self._made: list[Any] = []

    def worker(self, projection: str = FINGERPRINT) -> Any:
        """The store of one more worker."""
        from sinks.redis_store import RedisStore

        self._made.append(RedisStore(self._connect(self._url), projection))
        return self._made[-1]

    def tear(self, shard: int) -> None:
        self._run(self._admin.hset(Keys(shard, FINGERPRINT).head, "torn", "reset"))

    def spoil(self, shard: int, day: int) -> None:
        keys = [Keys(shard, FINGERPRINT).generation(day, bucket) for bucket in range(BUCKETS)]
        self._run(self._admin.unlink(*keys))
        self._run(self._admin.mset(dict.fromkeys(keys, "no set")))

    def empty(self, shard: int) -> None:
        """All keys of the shard go at once, as by FLUSHALL."""

        async def go() -> None:
            keys = [key async for key in self._admin.scan_iter(match=f"[hpd]:{{{shard}}}:*", count=10_000)]
            if keys:
                await self._admin.unlink(*keys)

        self._run(go())

    async def close(self) -> None:
        for store in self._made:
            await store.close()
        await self._admin.aclose()


@pytest.fixture(params=BOTH)
def server(request: pytest.FixtureRequest, run: Loop) -> Iterator[InMemory | OnServer]:
    """The projection's server."""
    if request.param == "memory":
        yield InMemory()
        return

    url = request.getfixturevalue("stack").redis_url

    async def make() -> OnServer:
        return OnServer(run, url)

    made = run(make())
    yield made
    run(made.close())


@pytest.fixture
def store(server: InMemory | OnServer, run: Loop) -> Any:
    """The store of a worker."""

    async def make() -> Any:
        return server.worker()

    return run(make())


@pytest.fixture(params=BOTH)
def ledger(request: pytest.FixtureRequest, run: Loop) -> Iterator[tuple[Any, Callable]]:
    """A ledger, and a way to write a record into it that is no block. Offsets begin anywhere."""
    if request.param == "memory":
        made = MemoryLedger()
        yield made, made.put
        return
    from confluent_kafka import Producer

    from schemas.topics import LEDGER
    from sinks.kafka_ledger import KafkaLedger

    settings = request.getfixturevalue("stack")
    made = KafkaLedger(settings.kafka_client("intake"))

    def put(shard: int, value: bytes, headers: list) -> int:
        offsets: list[int] = []
        producer = Producer(settings.librdkafka("intake"))
        producer.produce(
            LEDGER,
            value,
            partition=shard,
            headers=headers,
            on_delivery=lambda _, m: offsets.append(m.offset()),
        )
        producer.flush(20)
        return offsets[0]

    yield made, put
    run(made.close())


@pytest.fixture(params=BOTH)
def publisher(request: pytest.FixtureRequest, run: Loop) -> Iterator[tuple[Any, Callable]]:
    """A publisher, and what a topic holds: (partition, key, value) from the marked place on."""
    if request.param == "memory":
        made = MemoryPublisher()
        yield (
            made,
            lambda topic, _count: [
                (partition, m.key, m.value) for t, partition, m in made.published if t == topic
            ],
        )
        return
    from sinks.kafka_ledger import KafkaPublisher
    from sinks.kafka_topics import KafkaTopics

    settings = request.getfixturevalue("stack")
    topics = KafkaTopics(settings.librdkafka("intake"))
    made = KafkaPublisher(settings.kafka_client("intake"), topics)
    yield made, lambda topic, count: _last_records(settings, topic, count)
    run(made.close())
    run(topics.close())


def _last_records(settings: Any, topic: str, count: int) -> list[tuple]:
    """The last `count` records of each partition of a topic."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(settings.librdkafka("admin") | {"group.id": "contract", "enable.auto.commit": False})
    places, due = [], 0
    for partition in range(settings.shards):
        place = TopicPartition(topic, partition)
        low, high = consumer.get_watermark_offsets(place, timeout=20)
        place.offset = max(low, high - count)
        due += high - place.offset
        places.append(place)
    consumer.assign(places)
    found = consumer.consume(due, timeout=20) if due else []
    consumer.close()
    return [(m.partition(), m.key(), m.value()) for m in found]
