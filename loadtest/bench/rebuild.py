"""`python -m loadtest.bench.rebuild`: how fast Redis is made again from the ledger of a fresh embedded stack.

Blocks of the bench's load, decided here and appended as a worker would; then recovery of all shards in one
process, as after the loss of Redis. What it made must be the generator's balances, to the last point.
"""

import asyncio
import datetime as dt
import shutil
import tempfile
import time
from pathlib import Path

import click
import msgspec

from loadtest.apps import BUS, METRO
from loadtest.bench.command import SEED
from loadtest.bench.reports import Load
from schemas.block import Block, Span, open_block
from schemas.command import encode_command
from schemas.formats import NEWEST
from schemas.kinds.app import AppCommand
from schemas.outcome import Message
from schemas.report import SHANGHAI
from schemas.rules import load_rules
from schemas.shards import shards_of
from schemas.state import Head, Person
from schemas.topics import COMMANDS, intake_topic
from sinks.kafka_ledger import KafkaLedger
from sinks.redis_connection import connect
from sinks.redis_store import RedisStore
from stream.core.apply import apply
from stream.core.cycle_input import Cycle
from stream.core.decide import decide
from stream.core.platform import Platform
from stream.core.read import read_records
from stream.engine.recovery import Expected, recover
from stream.operate import stack
from stream.settings import Settings

_TOPIC_ID = "0" * 22


class Writer:
    """Decides one shard's records, and holds its state."""

    def __init__(self, platform: Platform, genesis: Block) -> None:
        self._platform = platform
        self._shard, self._time_ms = genesis.meta.shard, genesis.meta.time_ms
        self._persons: dict[str, Person] = {}
        self._members: dict[int, set[int]] = {}
        self.head = Head()
        self._take(genesis)

    def block(self, topic: str, values: list[bytes]) -> Block:
        """The next block, of records of one topic."""
        self._time_ms += 1
        source, n = self.head.sources[topic], len(values)
        span = Span(topic, source.topic_id, source.next, source.next + n)
        offsets = list(range(span.first, span.next))
        times_ms = [self._time_ms] * n
        cycle = Cycle(self._shard, [span], [0] * n, offsets, offsets, times_ms, times_ms, list(values))
        reading = read_records(cycle, self._platform.rules, self._platform.dedupe_key, NEWEST)
        seen = {
            m for day, ms in reading.members.lookups.items() for m in ms if m in self._members.get(day, ())
        }
        published_to = self.head.ledger_next  # all is told: rebuilding is measured, and not publishing
        block = decide(self._platform, self.head, cycle, reading, self._persons, seen, published_to)
        self._take(block)
        return block

    def _take(self, block: Block) -> None:
        change = apply(block, self.head, self._persons, self.head.ledger_next)
        self.head = change.head
        self._persons |= change.persons
        for day, members in change.members.items():
            self._members.setdefault(day, set()).update(members)


class Silent:
    """`Publisher` that tells nobody."""

    async def start(self) -> None: ...

    async def publish(self, shard: int, messages: dict[str, list[Message]]) -> set[str]:
        return set()

    async def close(self) -> None: ...


async def write(settings: Settings, load: Load, rows_a_block: int) -> dict[int, Head]:
    """Fills the ledger, and returns the heads."""
    ledger, heads = KafkaLedger(settings.kafka_client("intake")), {}
    records = list(load.records())
    shards = shards_of([record.key for record in records], settings.shards)
    for shard in range(settings.shards):
        [genesis] = [open_block(record) async for _, record in ledger.read(shard, 0, 1)]
        writer = Writer(platform_of(genesis), genesis)
        for app in (METRO, BUS):
            told = encode_command(AppCommand(app=msgspec.structs.replace(app, topic_id=_TOPIC_ID)))
            await ledger.append(writer.block(COMMANDS, [told]))
        for app in (METRO, BUS):
            values = [r.value for r, s in zip(records, shards, strict=True) if s == shard and r.app == app.id]
            for at in range(0, len(values), rows_a_block):
                await ledger.append(writer.block(intake_topic(app.id), values[at : at + rows_a_block]))
        heads[shard] = writer.head
    await ledger.close()
    return heads


def platform_of(genesis: Block) -> Platform:
    """The platform of a fresh stack."""
    said = genesis.meta.genesis
    assert said, "as a first block has it"
    key = bytes.fromhex(said["dedupe_key"])
    clock, fair = said["simulated_clock"], said["fair_rows_s"]
    return Platform(genesis.meta.platform, said["shards"], key, clock, fair, load_rules())


async def rebuild(settings: Settings, heads: dict[int, Head]) -> tuple[float, float, dict[str, int]]:
    """Recovers all shards of an empty Redis: seconds, those of them on this process's CPU, and balances."""
    store, ledger = RedisStore(connect(settings.redis_url)), KafkaLedger(settings.kafka_client("intake"))
    expected = Expected(settings.platform_id, settings.shards, load_rules())
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    shards = await asyncio.gather(*(recover(s, expected, store, ledger, Silent()) for s in heads))
    duration_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    differing = [shard.number for shard in shards if shard.head != heads[shard.number]]
    if differing:
        raise SystemExit(f"shards {differing} have other heads than their writer")
    persons = [await store.persons(shard) for shard in heads]
    await store.close()
    await ledger.close()
    return duration_s, cpu_s, {u: p.balance_milli() for part in persons for u, p in part.items()}


@click.command()
@click.option("--records", default=200_000, show_default=True)
@click.option("--rows-a-block", default=16_384, show_default=True)
def main(records: int, rows_a_block: int) -> None:
    """Exits with 1 if a balance is not the one that the generator knows."""
    load = Load(records, SEED, dt.datetime.now(SHANGHAI).date())
    home = Path(tempfile.mkdtemp(prefix="points-rebuild-"))
    try:
        settings = stack.up(home, {})
        heads = asyncio.run(write(settings, load, rows_a_block))
        duration_s, cpu_s, balances = asyncio.run(rebuild(settings, heads))
    finally:
        stack.down(home)
        shutil.rmtree(home)
    blocks = sum(head.seq + 1 for head in heads.values())
    click.echo(
        f"{records:,} rows in {blocks:,} blocks: {records / duration_s:,.0f} rows/s; the worker's CPU"
        f" {cpu_s / records * 1e6:.1f} us a row, {cpu_s / blocks * 1e6:.0f} us a block"
    )
    if balances != {uid: points for uid, points in load.totals().balances_milli.items() if uid in balances}:
        raise SystemExit("balances differ from the generator's")


if __name__ == "__main__":
    main()
