"""Projections in Redis as an operator meets them: what is there, what building one takes, who keeps which."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from schemas.block import BlockError, NewerFormat, open_block
from schemas.rules import load_rules
from schemas.state import Head
from sinks.fingerprint import FINGERPRINT
from sinks.kafka_ledger import KafkaLedger
from sinks.ports import LedgerGap, Store
from sinks.redis_connection import connect
from sinks.redis_store import RedisStore
from stream.core.apply_all import Step
from stream.engine import projections
from stream.engine.recovery import Expected
from stream.engine.redis_guard import GuardedStore
from stream.errors import OperatorError
from stream.operate.projection import answered, open_projection
from stream.settings import Settings

SHARDS_AT_ONCE = 4  # of a build: the fold has one CPU, and each shard a step of up to 16 MiB in hand
LOOK_TIMEOUT_S = 30
SAMPLED_BLOCKS = 32  # from which the rows of a ledger are reckoned
# Measured, see docs/runbook.md: 137,000 rows/s from full blocks, 17,000 from blocks of four rows.
ROW_US, BLOCK_US = 7.3, 210.0


class Standing(NamedTuple):
    """Where this release's projection of a shard is: of the ledger's offsets up to `end` it has those below
    `next`; it has no head where that is 0."""

    shard: int
    next: int
    end: int

    @property
    def behind(self) -> int:
        """Blocks that are not folded yet."""
        return self.end - self.next


class Work(NamedTuple):
    """What is left to fold, by a sample of the blocks."""

    blocks: int
    rows: int

    @property
    def minutes(self) -> float:
        """On the machine of docs/runbook.md."""
        return (self.rows * ROW_US + self.blocks * BLOCK_US) / 60e6


def ledger_of(settings: Settings) -> KafkaLedger:
    """The ledger, to be read, as whoever these settings know that may."""
    return KafkaLedger(settings.kafka_client("admin" if "admin" in settings.credentials else "intake"))


@asynccontextmanager
async def stores(settings: Settings) -> AsyncIterator[Callable[[str], Store]]:
    """Any projection by its name."""
    made: dict[str, RedisStore] = {}

    def store_of(name: str) -> RedisStore:
        if name not in made:
            made[name] = RedisStore(connect(settings.redis_url), name)
        return made[name]

    try:
        with answered():
            yield store_of
    finally:
        for store in made.values():
            await store.close()


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[tuple[RedisStore, KafkaLedger]]:
    """This release's projection and the ledger. Raises OperatorError where one of them does not answer."""
    ledger = ledger_of(settings)
    try:
        async with open_projection(settings) as store:
            yield store, ledger
    finally:
        await ledger.close()


async def standings(store: RedisStore, ledger: KafkaLedger, shards: int) -> list[Standing]:
    """All shards'."""

    async def of(shard: int) -> Standing:
        head = await store.load_head(shard)
        return Standing(shard, head.ledger_next if head else 0, await ledger.end(shard))

    return [await of(shard) for shard in range(shards)]


async def work(found: list[Standing], ledger: KafkaLedger) -> Work:
    """What building takes from where the shards stand."""
    blocks = sum(standing.behind for standing in found)
    sampled = [
        rows
        for number in range(min(SAMPLED_BLOCKS, blocks))
        if (rows := await _rows_at(found, number * blocks // min(SAMPLED_BLOCKS, blocks), ledger))
    ]
    return Work(blocks, blocks * sum(sampled) // len(sampled) if sampled else 0)


async def _rows_at(found: list[Standing], number: int, ledger: KafkaLedger) -> int:
    """Rows of one of the blocks that are behind, all shards counted through."""
    for standing in found:
        if number < standing.behind:
            at = standing.next + number
            try:
                async for _, record in ledger.read(standing.shard, at, at + 1):
                    return open_block(record).rows.num_rows
            except (BlockError, NewerFormat, LedgerGap):
                return 0  # whoever folds it says so
        number -= standing.behind
    return 0


async def build(
    settings: Settings, store: RedisStore, ledger: KafkaLedger, taken: Callable[[int, Head, Step], None]
) -> list[Head]:
    """Builds this release's projection of all shards; a head of each."""
    expected = Expected(settings.platform_id, settings.shards, load_rules())
    at_once, guarded = asyncio.Semaphore(SHARDS_AT_ONCE), GuardedStore(store)

    async def one(shard: int) -> Head:
        async with at_once:
            return await projections.build(shard, expected, guarded, ledger, taken)

    return await asyncio.gather(*map(one, range(settings.shards)))


class Look(NamedTuple):
    """What an operator should know before and after a roll; `todo` is '' where there is nothing to do."""

    text: str
    todo: str


def look(settings: Settings) -> Look:
    """This release's projection, what building it would take, and what others take. Changes nothing; raises
    OperatorError where Kafka or Redis do not answer."""
    try:
        return asyncio.run(asyncio.wait_for(_look(settings), LOOK_TIMEOUT_S))
    except TimeoutError as error:
        raise OperatorError(
            f"no answer within {LOOK_TIMEOUT_S} s.",
            "see `points status`; `points up` starts what does not run.",
        ) from error


async def _look(settings: Settings) -> Look:
    async with opened(settings) as (store, ledger):
        found = await standings(store, ledger, settings.shards)
        missing = [standing for standing in found if not standing.next]
        shares, info = await store.shares(), await store.info()
        left = await work(missing, ledger)
    texts, todo = [f"{FINGERPRINT} is this release's"], ""
    # The first worker of a new platform makes it from a block a shard: nobody need do that ahead.
    if any(standing.end > 1 for standing in missing):
        shards = ", ".join(str(standing.shard) for standing in missing)
        texts.append(
            f"it is not there in shards {shards}: {left.blocks:,} blocks with some {left.rows:,} rows to"
            f" fold, which took {_minutes(left.minutes)} where it was measured"
        )
        todo = "run `points rebuild redis` before workers of this release start: see docs/upgrade.md, Before."
    others = {name: share for name, share in shares.items() if name not in ("", FINGERPRINT)}
    for name, share in sorted(others.items()):
        mib = share * int(info["used_memory"]) / 2**20
        texts.append(f"{name} of another release takes some {mib:,.0f} MiB, {share:.0%} of the keys")
        todo = todo or "once that release will not come back, `points upgrade finish` drops it."
    return Look("; ".join(texts), todo)


def _minutes(minutes: float) -> str:
    return "less than a minute" if minutes < 1 else f"{minutes:,.0f} minutes"
