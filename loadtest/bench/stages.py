"""`python -m loadtest.bench.stages`: what each pure stage costs, in us of CPU a report.

The bench's load as one shard's cycles, in one process, without sockets: nobody else's work is measured along.
At two sizes of cycles: full ones, as a queue is drained, and of four rows, as a city's usual load makes them.
Each stage of a cycle is run several times, and its least time counts. A stage that is made of others is shown
without them. The times of a run belong to its machine; compare two trees in turns.
"""

import datetime as dt
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import click
import lz4.frame
import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from loadtest.bench.command import SEED
from loadtest.bench.reports import APPS, Load, Record
from loadtest.hostile.batches import LZ4, records
from schemas.block import Block, make_block, open_block
from schemas.formats import NEWEST
from schemas.kinds.app import App
from schemas.limits import ARCHIVE_RUN_ROWS_MIN, CYCLE_ROWS_MAX, FAIR_ROWS_S, KEEPS_UP_MS
from schemas.outcome import messages_of
from schemas.report import SHANGHAI
from schemas.rules import load_rules
from schemas.state import Head, Person, Source
from schemas.topics import intake_topic
from sinks.clickhouse.rows import insert_of
from sinks.clickhouse.run import LedgerBlock, Run
from sinks.fingerprint import FINGERPRINT
from sinks.redis_commands import read_state, write_change
from sinks.redis_keys import Keys
from stream.batches.fetch import Fetch
from stream.batches.reader import Batch, values_of
from stream.core.apply import apply
from stream.core.cycle_input import Buffer, Cycle
from stream.core.decide import decide
from stream.core.members import members_of
from stream.core.platform import Platform
from stream.core.read import Reading, read_records

RECORDS = 120_000
SMALL_ROWS, SMALL_SHARE = 4, 16  # small cycles cost many times as much: so many fewer records will do
BATCH_ROWS = 2_000  # of a producer that is behind, lz4 as in the drain: some 100 KiB
REPEAT = 3
# In the order of a report's way; the last two are the archive worker's.
STAGES = (
    "unpack", "take", "read", "members", "decide", "seal", "apply", "commands for Redis", "outcomes",
    "open", "rows for ClickHouse",
)  # fmt: skip
# Stages that others are made of, and which are subtracted there.
_PARTS = {"take": "unpack", "read": "members", "decide": "seal"}
_TOPIC_ID = "0" * 22
_KEYS = Keys(0, FINGERPRINT)


class Figures(msgspec.Struct, frozen=True):
    """What the stages cost at one size of cycles."""

    rows_a_cycle: int
    records: int
    us_a_report: dict[str, float]
    us_a_report_in_all: float


class Clock:
    """CPU seconds by stage."""

    def __init__(self, repeat: int) -> None:
        self.spent_s: dict[str, float] = defaultdict(float)
        self._repeat = repeat

    def time(self, stage: str, run: Callable[[], Any], before: Callable[[], Any] = lambda: None) -> Any:
        """What `run` returns; `before` makes ready what it uses up, and is not timed."""
        least_s = float("inf")
        for _ in range(self._repeat):
            before()
            began_s = time.process_time()
            found = run()
            least_s = min(least_s, time.process_time() - began_s)
        self.spent_s[stage] += least_s
        return found


class Shard:
    """The only shard of a platform, as its worker and its Redis hold it."""

    def __init__(self, clock: Clock, now_ms: int) -> None:
        rules = load_rules()
        self._clock, self._now_ms = clock, now_ms
        self._platform = Platform("bench", 1, bytes(32), False, FAIR_ROWS_S, rules)
        apps = {app: App(app, app, sorted(rules.methodologies), topic_id=_TOPIC_ID) for app in APPS}
        sources = {intake_topic(app): Source(_TOPIC_ID, 0) for app in APPS}
        # The shard's time is beyond all of it: a backlog, of which cycles are full.
        time_ms = now_ms + KEEPS_UP_MS
        self._head = Head(seq=0, time_ms=time_ms, ledger_next=1, apps=apps, sources=sources)
        self._persons: dict[str, Person] = {}
        self._members: set[int] = set()
        self._buffer = Buffer(0, {}, FAIR_ROWS_S)

    def decide(self, part: list[Record]) -> Block:
        """One cycle of these records, each stage timed."""
        timed, platform, head = self._clock.time, self._platform, self._head
        fetches = list(self._fetches(part))
        timed("unpack", lambda: [values_of(batch) for fetch in fetches for batch in fetch.records])
        cycle = timed("take", lambda: self._taken(fetches), self._open_buffer)
        assert len(cycle.offset) == len(part), "a cycle of the size that was asked for"
        reading = timed("read", lambda: read_records(cycle, platform.rules, platform.dedupe_key, NEWEST))
        timed("members", lambda: self._members_of(cycle, reading))
        uids, lookups = reading.uids, reading.members.lookups
        timed("commands for Redis", lambda: read_state(_KEYS, uids, lookups))
        persons = {uid: self._persons[uid] for uid in uids if uid in self._persons}
        seen = self._members & set().union(*lookups.values())
        block = timed("decide", lambda: decide(platform, head, cycle, reading, persons, seen, 0))
        columns = block.rows.to_pydict()
        timed("seal", lambda: make_block(block.prev, block.meta, columns, NEWEST))
        change = timed("apply", lambda: apply(block, head, persons, head.ledger_next))
        timed("commands for Redis", lambda: write_change(_KEYS, change))
        timed("outcomes", lambda: messages_of(block))
        self._head = change.head
        self._persons |= change.persons
        self._members.update(*change.members.values())
        return block

    def _fetches(self, part: list[Record]) -> Iterator[Fetch]:
        """What the broker would hand over of each app's topic."""
        for app in APPS:
            values = [record.value for record in part if record.app == app]
            topic, batches = intake_topic(app), []
            first = following = self._head.sources[topic].next
            for at in range(0, len(values), BATCH_ROWS):
                some = values[at : at + BATCH_ROWS]
                base, following = following, following + len(some)
                payload = lz4.frame.compress(records(some), block_linked=False)
                batches.append(Batch(base, following, self._now_ms, len(some), LZ4, payload, None))
            if batches:
                yield Fetch(topic, 0, first, following, batches, following)

    def _open_buffer(self) -> None:
        self._buffer = Buffer(0, self._head.sources, FAIR_ROWS_S)

    def _taken(self, fetches: list[Fetch]) -> Cycle:
        for fetch in fetches:
            self._buffer.add(fetch)
        cycle = self._buffer.take(self._head, 0)
        assert cycle is not None, "everything that exists is here"
        return cycle

    def _members_of(self, cycle: Cycle, reading: Reading) -> None:
        topics = [f"{span.topic}\0" for span in cycle.sources]
        keys, days = [topics[s] for s in cycle.source], np.array(reading.day, np.int64)
        rules, newest = self._platform.rules, max(reading.day)
        members_of(reading.reports, days, keys, rules, self._platform.dedupe_key, newest)


def measure(records_in_all: int, rows_a_cycle: int, repeat: int) -> Figures:
    """The stages' costs over so many records, in cycles of so many rows."""
    now = dt.datetime.now(SHANGHAI)
    load = list(Load(records_in_all, SEED, now.date()).records())
    clock = Clock(repeat)
    shard = Shard(clock, int(now.timestamp() * 1_000))
    held: list[LedgerBlock] = []
    held_rows = 0
    for at in range(0, len(load), rows_a_cycle):
        block = shard.decide(load[at : at + rows_a_cycle])
        record = block.record
        held.append(LedgerBlock(clock.time("open", partial(open_block, record)), len(held)))
        held_rows += block.rows.num_rows
        if held_rows >= ARCHIVE_RUN_ROWS_MIN or at + rows_a_cycle >= len(load):
            clock.time("rows for ClickHouse", partial(insert_of, Run(0, tuple(held))))
            held, held_rows = [], 0
    spent_s = clock.spent_s
    for stage, part in _PARTS.items():
        spent_s[stage] -= spent_s[part]
    us = {stage: round(spent_s[stage] / len(load) * 1e6, 2) for stage in STAGES}
    return Figures(rows_a_cycle, len(load), us, round(sum(us.values()), 2))


@click.command()
@click.option("--records", type=click.IntRange(1), default=RECORDS, show_default=True, help="In full cycles.")
@click.option("--repeat", type=click.IntRange(1), default=REPEAT, show_default=True, help="Of each stage.")
@click.option("--json", "as_json", is_flag=True, help="For programs: the figures as JSON on stdout.")
def main(records: int, repeat: int, as_json: bool) -> None:
    """What each pure stage costs, in us of CPU a report, in full cycles and in cycles of four rows."""
    found = [
        measure(records, CYCLE_ROWS_MAX, repeat),
        measure(max(1, records // SMALL_SHARE), SMALL_ROWS, repeat),
    ]
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    table = Table(title="CPU us a report, by stage")
    table.add_column("rows a cycle, at most")
    for figures in found:
        table.add_column(f"{figures.rows_a_cycle:,}", justify="right")
    for stage in STAGES:
        table.add_row(stage, *(f"{figures.us_a_report[stage]:.2f}" for figures in found))
    table.add_row("in all", *(f"{figures.us_a_report_in_all:.2f}" for figures in found))
    Console().print(table)


if __name__ == "__main__":
    main()
