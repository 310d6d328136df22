"""A real `Intake` over the model's world of one shard; the transport's side is played here."""

import asyncio
from collections.abc import Callable
from unittest.mock import patch

from faust.types.tuples import TP
from prometheus_client import generate_latest

from schemas.verdicts import CODES, Verdict
from stream.engine import tenure
from stream.engine.intake import Intake
from stream.engine.recovery import Expected
from stream.telemetry.intake import IntakeMetrics
from stream.telemetry.intake_state import label_of
from stream.telemetry.snapshot import Snapshot, read
from stream.telemetry.worker import WorkerMetrics
from tests.making import APPS, SHARDS, SOURCES, rules
from tests.model.driver import Faulty, World


def scraped(metrics: WorkerMetrics, *names: str) -> Snapshot:
    """What a scrape would find now; of these metrics only, if there are names."""
    registry = metrics.registry.restricted_registry(names) if names else metrics.registry
    samples: dict = {}
    for name, sample in read(generate_latest(registry).decode(), "intake"):
        samples.setdefault(name, []).append(sample)
    return Snapshot(0.0, samples)


class Transport:
    """What `Intake` knows of its consumer."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.placed: dict[TP, int] = {}

    async def seek_to(self, positions: dict[TP, int]) -> None:
        self.placed |= positions

    def partitions_of(self, topic: str) -> int:
        return SHARDS

    async def ends_of(self, tps: list[TP]) -> dict[TP, int]:
        return {tp: len(self._world.sources[tp.topic]) for tp in tps}

    async def subscribe_to(self, topics: list[str]) -> None:
        """They are all there from the beginning."""

    def feed(self, handler: Intake, fetch: int) -> None:
        """Delivers once from each topic that is wanted."""
        for tp, first in list(self.placed.items()):
            if handler.wants(tp) and (fetched := self._world.fetched(tp.topic, first, fetch)):
                self.placed[tp] = fetched.next
                handler.take(fetched)


async def decide_all(world: World, ports: Faulty, check: Callable, fetch: int = 5) -> IntakeMetrics:
    """Runs until every record is decided and nothing waits; `check(metrics)` is called after every turn."""
    failures: list[BaseException] = []
    handler = Intake(
        Expected("test", SHARDS, rules()),
        APPS,
        ports.store,
        ports.ledger,
        ports.publisher,
        ports.topics,
        failures.append,
    )
    transport = Transport(world)
    await handler.assigned({TP(topic, 0) for topic in SOURCES}, transport)
    # Many cycles, for many places to fail at.
    with patch.object(tenure, "CYCLE_INTERVAL_S", 0.0):
        await _feed(world, handler, transport, failures, fetch, check)
    await handler.revoked(set())
    assert not failures, failures
    return handler.metrics


async def _feed(
    world: World, handler: Intake, transport: Transport, failures: list, fetch: int, check: Callable
) -> None:
    async with asyncio.timeout(20):
        while not _is_done(world, handler) and not failures:
            transport.feed(handler, fetch)
            await asyncio.sleep(0)
            check(handler.metrics)


def _is_done(world: World, handler: Intake) -> bool:
    positions = {topic: handler.position(TP(topic, 0)) or 0 for topic in world.sources}
    return positions == {topic: len(records) for topic, records in world.sources.items()}


async def records_by_app(world: World) -> dict[tuple[str, str], int]:
    """What the ledger says of records, by app and verdict: what the counters must say. A row of a range of
    offsets counts them all; what was deleted unread was received by nobody."""
    found: dict[tuple[str, str], int] = {}
    for _, block in await world.accepted():
        topics = [span.topic for span in block.meta.sources]
        for row in block.rows.select(["source", "verdict", "offset", "last_offset"]).to_pylist():
            if row["source"] >= 0 and row["verdict"] != Verdict.DELETED_UNREAD:
                key = label_of(topics[row["source"]]), CODES[row["verdict"]]
                found[key] = found.get(key, 0) + row["last_offset"] - row["offset"] + 1
    return found
