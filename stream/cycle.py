"""READ THIS FIRST: one cycle of one shard, from fetched records to published outcomes.

A shard is one partition of every topic: one order, one ledger partition, one Redis slot, one worker. The
ledger is the truth and the compare-and-set: a block counts if and only if its `prev` is the hash of the block
before it, for every reader; Redis is a projection of it, which any worker can make again.
"""

import asyncio
import time

from schemas.block import Block
from schemas.limits import BROKER_AHEAD_MS_MAX
from schemas.outcome import messages_of
from schemas.state import Head
from sinks.ports import Doubt, Ledger, Publisher, Store
from stream.apply import apply
from stream.bisect import decide_each
from stream.cycle_input import Buffer, Cycle
from stream.decide import Platform
from stream.errors import OperatorError
from stream.read import read_records


class Shard:
    """One shard in the hands of this worker, between a recovery and the next doubt."""

    def __init__(self, shard: int, platform: Platform, head: Head, ledger_end: int) -> None:
        self.number = shard
        self.platform = platform
        self.head = head
        self.ledger_end = ledger_end  # one after the last ledger record that this worker has read or written
        self.published_to = head.published_to
        self.buffer = Buffer(shard, {})
        self.publishing: asyncio.Task | None = None

    def open_buffer(self, positions: dict[str, int]) -> None:
        """Takes records of these topics from these offsets on."""
        self.buffer = Buffer(self.number, positions)


async def run_cycle(shard: Shard, store: Store, ledger: Ledger, publisher: Publisher) -> None:
    """Read, decide, append, apply, publish: the whole flow.

    Raises `Doubt` where an effect is not known or another worker was faster; the caller then recovers the
    shard from the ledger. Nothing has to be undone, whichever line it was.
    """
    cycle = shard.buffer.take(shard.head)
    _check_broker_clock(cycle)
    reading = read_records(cycle, shard.platform.rules, shard.platform.dedupe_key)

    # 1. Read the state, the head first: it must be the one that this worker decided on last.
    before = await store.read(shard.number, reading.uids, reading.lookups)
    if before.head_hash != shard.head.hash:
        raise Doubt("Redis has another head: another worker owns this shard, or Redis went back in time")

    # 2. Decide: a pure function of the cycle, the state and the rules.
    block = decide_each(shard.platform, shard.head, cycle, reading, before, shard.published_to)

    # 3. Append: written only if it came directly after all that this worker has read.
    offset = await ledger.append(block)
    if offset != shard.ledger_end:
        raise Doubt(f"ledger offset {offset} where {shard.ledger_end} was due: somebody else wrote")
    shard.ledger_end = offset + 1

    # 4. Apply: the projection moves from one head to the next, or not at all.
    change = apply(block, shard.head, before.persons, offset)
    await store.commit(change)
    shard.head = change.head

    # 5. Publish, while the next cycle is read; `published_to` travels in a later block.
    await publish_after(shard, publisher, block, offset)


async def publish_after(shard: Shard, publisher: Publisher, block: Block, offset: int) -> None:
    """Waits for the publication before, then starts this block's. Raises what the one before met."""
    if shard.publishing:
        await shard.publishing

    async def publish() -> None:
        await publisher.publish(shard.number, messages_of(block))
        shard.published_to = offset + 1

    shard.publishing = asyncio.ensure_future(publish())


def _check_broker_clock(cycle: Cycle) -> None:
    ahead_ms = max(cycle.broker_ms) - time.time_ns() // 1_000_000
    if ahead_ms > BROKER_AHEAD_MS_MAX:
        raise OperatorError(
            f"The broker's timestamps are {ahead_ms / 3_600_000:.1f} hours ahead of this machine's clock.",
            "set both clocks by NTP, then start the worker again: a shard's time never steps back.",
        )
