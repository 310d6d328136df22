"""What the metrics of both kinds of worker have in common, and what the broker is asked for them."""

import asyncio
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol

import structlog
from aiokafka.errors import KafkaError
from faust.types.tuples import TP
from prometheus_client import CollectorRegistry, Gauge

from stream.errors import in_background
from stream.telemetry.backlog import Backlog

log = structlog.get_logger()
# Buckets of durations: a cycle of a busy shard takes some 50 ms, an insert 100, a time-out 30 s.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
REFRESH_S = 2.0  # one request to each broker that leads a partition of ours
ANSWER_TIMEOUT_S = 5.0


def now_ms() -> int:
    """This machine's clock; ages are taken against it, never against a shard's time."""
    return time.time_ns() // 1_000_000


class Consumer(Protocol):
    """What is asked of a worker's consumer."""

    def assignment(self) -> AbstractSet[TP]:
        """The partitions that are this worker's."""

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Where each partition ends, as its broker says now."""

    async def position(self, tp: TP) -> int | None:
        """Where the next fetch of a partition begins."""


class WorkerMetrics:
    """One registry a worker, no globals. `consumer` is known from the first assignment on."""

    consumer: Consumer | None = None

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._service_up = Gauge(
            "points_service_up",
            "1 if the service answered when it was asked last, 0 if not.",
            ["service"],
            registry=self.registry,
        )

    def service_answered(self, service: str, answered: bool) -> None:
        """A service (kafka, redis, clickhouse) did what was asked, or it is not known whether it did."""
        self._service_up.labels(service).set(answered)

    def backlog(self, tp: TP) -> Backlog | None:
        """The backlog of a partition; None if it is not this worker's any more."""
        raise NotImplementedError

    def is_placed(self, tp: TP) -> bool:
        """Whether the transport stands where the effects do, so that its position means something."""
        raise NotImplementedError


class BrokerWatch:
    """Asks the broker where the partitions end, beside the worker: what is not fetched waits as well."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._task: asyncio.Task | None = None

    async def start(self) -> None:
        """Begins to ask."""
        self._task = in_background(self._run())

    async def stop(self) -> None:
        """Ends."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            if self._metrics.consumer is None:
                continue
            asked = asyncio.ensure_future(self._ask(self._metrics.consumer))
            await asyncio.wait([asked], timeout=ANSWER_TIMEOUT_S)
            if not asked.done():
                self._metrics.service_answered("kafka", False)
                # Not given up: one question at a time in the consumer's thread, which has work to do.
                await asyncio.wait([asked])
            self._metrics.service_answered("kafka", asked.result())

    async def _ask(self, consumer: Consumer) -> bool:
        try:
            await self._learn(consumer)
        except (KafkaError, TimeoutError, OSError) as error:
            log.debug("Kafka does not say where partitions end", error=repr(error))
            return False
        return True

    async def _learn(self, consumer: Consumer) -> None:
        ends = await consumer.highwaters(*consumer.assignment())
        for tp, end in ends.items():
            if backlog := self._metrics.backlog(tp):
                backlog.learn_end(end, now_ms())
                if backlog.is_undelivered() and self._metrics.is_placed(tp):
                    fetched = await consumer.position(tp)
                    if fetched is not None:
                        backlog.learn_fetched(fetched)
