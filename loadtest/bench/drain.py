"""The drain: workers are started on full topics, and the time is taken until the last row is archived."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from loadtest.bench.processes import Workers
from loadtest.bench.reports import APPS
from stream.errors import OperatorError
from stream.operate.projection import open_projection
from stream.operate.sql import Endpoint, ask, endpoint_of
from stream.settings import Settings

STALL_TIMEOUT_S = 60.0
LOOK_S = 0.05


class Drained(NamedTuple):
    """Seconds from the first fetch until Redis had the last record, and until the archive had its row; CPU
    seconds of the whole span, by kind of process."""

    decided_s: float
    archived_s: float
    cpu_s: dict[str, float]


async def drain(
    settings: Settings,
    workers: Workers,
    ends: dict[tuple[str, int], int],
    intake_workers: int,
    on_progress: Callable[[int], None],
) -> Drained:
    """Starts the archive worker, then the intake workers, and returns when both have done everything.

    `ends`: the end of every partition of the intake topics; all of them begin at 0.
    """
    records, endpoint, shards = sum(ends.values()), endpoint_of(settings), settings.shards
    async with open_projection(settings) as store:

        async def shards_ready() -> int:
            heads = [await store.load_head(shard) for shard in range(shards)]
            return sum(head is not None for head in heads)

        async def decided() -> int:
            heads = [await store.load_head(shard) for shard in range(shards)]
            return sum(source.next for head in heads if head for source in head.sources.values())

        await start_workers(endpoint, shards, workers, intake_workers)
        # A shard's first head is written at the end of its recovery, just before its first fetch.
        await reach(1, shards_ready, workers, "intake-1")
        began_s, cpu_s = time.monotonic(), workers.cpu_s()
        await reach(records, decided, workers, "intake-1", on_progress)
        decided_s = time.monotonic() - began_s
        await reach_archived(endpoint, shards, workers, records)
        archived_s = time.monotonic() - began_s
        used_s = {kind: at_end_s - cpu_s[kind] for kind, at_end_s in workers.cpu_s().items()}
    return Drained(decided_s, archived_s, used_s)


async def start_workers(endpoint: Endpoint, shards: int, workers: Workers, intake_workers: int) -> None:
    """Starts the archive worker, and once it has the first rows the intake workers."""
    workers.start("archive", "stream.cli", "worker", "archive")
    await reach(shards, partial(_archived, endpoint), workers, "archive")
    for number in range(1, intake_workers + 1):
        workers.start(f"intake-{number}", "stream.cli", "worker", "intake")


async def reach_archived(endpoint: Endpoint, shards: int, workers: Workers, records: int) -> int:
    """Waits until the archive has the rows of so many records of the load's apps; of how many it has them."""
    platform_rows = shards * (1 + len(APPS))  # each shard's first, and one that registers each app
    rows = await reach(records + platform_rows, partial(_archived, endpoint), workers, "archive")
    return rows - platform_rows


async def reach(
    goal: int,
    count: Callable[[], Awaitable[int]],
    workers: Workers,
    name: str,
    on_progress: Callable[[int], None] = lambda reached: None,
) -> int:
    """Waits until `count` is at `goal`; how many there are then. Raises OperatorError if it does not change
    for a long time."""
    reached, deadline_s = -1, 0.0
    while (now := await count()) < goal:
        workers.check()
        if now != reached:
            reached, deadline_s = now, time.monotonic() + STALL_TIMEOUT_S
            on_progress(reached)
        elif time.monotonic() > deadline_s:
            raise workers.failure(name, f"is at {reached:,} of {goal:,} for {STALL_TIMEOUT_S:.0f} s")
        await asyncio.sleep(LOOK_S)
    on_progress(goal)
    return now


async def _archived(endpoint: Endpoint) -> int:
    """Rows in the archive's table, by its own count; 0 while the archive worker starts.

    Of all rows, which costs the engine nothing: with a WHERE it reads a column, twenty times a second.
    """
    try:
        body, _ = ask(endpoint, "SELECT count() FROM ledger_rows", "JSONCompact")
    except OperatorError:
        return 0
    return int(json.loads(body)["data"][0][0])
