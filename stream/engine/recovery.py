"""Recovery: after assignment, reconnection, a fence or any doubt, always the same.

Fold the ledger from the offset that stands beside Redis's head, publish what is not known to be published,
and go on from the positions that the head names. Whatever was half done is settled here and nowhere else.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import structlog

from schemas.block import Block, BlockError, NewerFormat, open_block, open_next
from schemas.formats import NEWEST
from schemas.ledger_record import LedgerRecord
from schemas.outcome import messages_of
from schemas.rules import Rules
from schemas.state import ZERO_HASH, Head, Lag
from sinks.ports import Doubt, Ledger, LedgerGap, Publisher, Store
from stream.core.apply_all import Step, apply_all
from stream.core.platform import Platform
from stream.engine.cycle import Shard, newer_format, publish_block, to_be_written
from stream.errors import OperatorError

log = structlog.get_logger()
CATCH_UP_BLOCKS_MAX = 50  # at a time: some 2 s of full blocks, while which the other apps wait


class Expected(NamedTuple):
    """What this worker's settings say about the platform; the genesis block must agree."""

    platform: str
    shards: int
    rules: Rules


async def recover(
    shard: int, expected: Expected, store: Store, ledger: Ledger, publisher: Publisher
) -> Shard:
    """A shard ready for its next cycle. Raises `Doubt` to be tried again, `OperatorError` to halt."""
    await ledger.renew(shard)
    with told_to_operator(shard):
        platform, head, end = await begin(shard, expected, store, ledger)
        unpublished = await _accepted_before(shard, head, ledger) if head.seq >= 0 else []
        ignored = 0
        async for moved, step in fold(shard, head, end, store, ledger):
            head, ignored = moved, ignored + step.ignored
            unpublished = [(o, b) for o, b in unpublished + step.found if o >= head.published_to]
        lags = dict(head.lags)
        for offset, block in unpublished:
            lags |= await publish_block(shard, block, offset, lags, publisher)
    refuse_newer(shard, head)
    recovered = Shard(shard, platform, head, end)
    recovered.published_to, recovered.lags, recovered.ignored_records = end, lags, ignored
    return recovered


async def begin(shard: int, expected: Expected, store: Store, ledger: Ledger) -> tuple[Platform, Head, int]:
    """The platform, the head from which to fold, and the ledger's end. A projection without a usable head is
    emptied, and begins anew."""
    # The head before the end: a worker that moves both in between must not look like a ledger that shrank.
    head = await store.load_head(shard)
    end = await ledger.end(shard)
    if end == 0:
        raise OperatorError(
            f"Shard {shard} has an empty ledger.", "run `points up`, which writes its first block."
        )
    platform = await _genesis(shard, expected, ledger)
    if head is None:
        log.warning("no usable head in Redis: rebuilding from the ledger", shard=shard, ledger_end=end)
        await store.reset(shard)
        head = Head()
    if end < head.ledger_next:
        raise OperatorError(
            f"Shard {shard}: the ledger ends at {end}, but Redis has seen {head.ledger_next}: the ledger lost"
            " records.",
            "restore topic `ledger` from a replica; see docs/runbook.md, ledger shorter than Redis.",
        )
    return platform, head, end


@contextmanager
def told_to_operator(shard: int) -> Iterator[None]:
    """What a ledger holds that this release cannot fold becomes an OperatorError."""
    try:
        yield
    except (BlockError, LedgerGap) as error:
        raise OperatorError(
            f"Shard {shard}: {error}",
            "find out who else writes topic `ledger` (only the intake worker may); see docs/runbook.md,"
            " ledger.",
        ) from error
    except NewerFormat as error:
        raise newer_format(shard, _held(error), error.release) from error


def refuse_newer(shard: int, head: Head) -> None:
    """Raises OperatorError where the next block is of a format that this release cannot write."""
    if head.format > NEWEST:
        raise newer_format(shard, to_be_written(head.format, head.format_release), head.format_release)


def _held(error: NewerFormat) -> str:
    return f"the ledger holds format {error.format}, written by release {error.release}"


async def _genesis(shard: int, expected: Expected, ledger: Ledger) -> Platform:
    async for _, record in ledger.read(shard, 0, 1):
        if not record.follows(ZERO_HASH):
            raise OperatorError(
                f"The ledger of shard {shard} begins with a record that this release does not count.",
                "it was written before release 0.2, or by somebody else: start with an empty Kafka, or set"
                " POINTS_HOME to a new folder.",
            )
        meta = open_block(record).meta
        if (genesis := meta.genesis) is None:
            raise BlockError("the ledger's first record is no genesis block")
        if (meta.platform, genesis["shards"]) != (expected.platform, expected.shards):
            raise OperatorError(
                f"The ledger belongs to platform {meta.platform} with {genesis['shards']} shards, the"
                f" settings say {expected.platform} with {expected.shards}.",
                "correct POINTS_PLATFORM_ID and POINTS_SHARDS, or point the worker at its own Kafka.",
            )
        return Platform(
            meta.platform,
            genesis["shards"],
            bytes.fromhex(genesis["dedupe_key"]),
            genesis["simulated_clock"],
            genesis["fair_rows_s"],
            expected.rules,
        )
    raise BlockError("the ledger's first record is gone")


async def fold(
    shard: int, head: Head, end: int, store: Store, ledger: Ledger
) -> AsyncIterator[tuple[Head, Step]]:
    """Brings Redis from `head` to the ledger's end, step by step: after each, the head and what was taken."""
    step = Step(head)
    async for offset, record in ledger.read(shard, head.ledger_next, end):
        if not record.follows(step.tip):
            step.ignored += 1
            continue
        block = open_next(record, shard, step.next_seq)
        if not step.has_room(block):
            head = await _take(step, shard, store)
            yield head, step
            step = Step(head)
        step.add(offset, block)
    if step.found:
        head = await _take(step, shard, store)
    yield head, step


async def _take(step: Step, shard: int, store: Store) -> Head:
    """Brings Redis from one head to a later one, by one read and one commit. Returns that head."""
    before = await store.read(shard, step.touched(), {})
    if before.head_hash != step.head.hash:
        raise Doubt("another worker recovers this shard, or Redis went back in time")
    change = apply_all(step.found, step.head, before.persons)
    await store.commit(change)
    return change.head


async def catch_up(shard: Shard, ledger: Ledger, publisher: Publisher) -> None:
    """Publishes some of what waits for topics of outcomes that are there again; the shard goes on between."""
    for topic, lag in list(shard.lags.items()):
        head, published = lag.prev, 0
        async for offset, record in ledger.read(shard.number, lag.offset, shard.ledger_end):
            if not record.follows(head):
                continue
            messages = messages_of(open_block(record)).get(topic)
            if messages and await publisher.publish(shard.number, {topic: messages}):
                return  # it does not exist yet
            head, published = record.hash, published + 1
            shard.lags[topic] = Lag(offset + 1, head)
            if published == CATCH_UP_BLOCKS_MAX:
                return
        del shard.lags[topic]
        log.info("outcomes are published again", topic=topic, shard=shard.number)


async def _accepted_before(shard: int, head: Head, ledger: Ledger) -> list[tuple[int, Block]]:
    """Blocks that Redis has applied but that may be unpublished; goes back along the chain from the head."""
    start = min(head.published_to, head.ledger_next - 1)
    known = [found async for found in ledger.read(shard, start, head.ledger_next)]
    if not known or not _is(head.hash, known[-1][1]):
        raise OperatorError(
            f"Shard {shard}: Redis's head is not on the ledger's chain.",
            "this Redis belongs to another ledger: give the worker an empty one and it is rebuilt.",
        )
    wanted, accepted = head.hash, []
    for offset, record in reversed(known):
        if _is(wanted, record):
            accepted.append((offset, open_block(record)))
            wanted = record.prev
    return [(offset, block) for offset, block in reversed(accepted) if offset >= head.published_to]


def _is(wanted: bytes, record: LedgerRecord) -> bool:
    """Whether this is the record with the hash `wanted`, and not one that only claims it."""
    return record.hash == wanted and record.follows(record.prev)
