"""One simulated platform: two shards, two intake workers, two archive workers, and everything outside them.

The real `Intake` and `ArchiveHandler`, with all that stands under them, run unchanged over ports that
misbehave.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

from faust.types.tuples import TP

from schemas.block import Block, Span, genesis_block
from schemas.outcome import Message, messages_of
from schemas.report import to_ms
from schemas.state import ZERO_HASH, Change
from schemas.topics import COMMANDS, LEDGER
from sinks.clickhouse.run import Mark, Run
from sinks.memory import MemoryStore
from sinks.ports import Doubt
from stream.batches.fetch import Fetch
from stream.core.cycle_input import Cycle
from stream.engine.cycle import _check_sources as check_sources
from stream.errors import OperatorError
from tests.simulation import traffic
from tests.simulation.chance import Chance
from tests.simulation.group import Group
from tests.simulation.kafka import Broker
from tests.simulation.loop import VirtualLoop
from tests.simulation.operator import GENESIS, Operator
from tests.simulation.outside import (
    ArchivePort,
    LedgerPort,
    Process,
    PublisherPort,
    StorePort,
    TopicsPort,
    in_thread,
    ledger_record,
)
from tests.simulation.positions import move
from tests.simulation.roll import Roll
from tests.simulation.services import CountingArchive, Ledger, Redis, Violation, month, unsettled
from tests.simulation.trouble import before_commit, trouble
from tests.simulation.upgrade import Upgrade


class World:
    """All that is outside the workers, the workers themselves, and what happened."""

    def __init__(self, chance: Chance) -> None:
        self.chance, self.loop = chance, VirtualLoop()
        self.loop.executor = partial(in_thread, self)
        self.shards = traffic.SHARDS
        self.start_ms = to_ms(traffic.START)
        self.redis, self.ledger, self.archive = Redis(), Ledger(), CountingArchive()
        self.broker = Broker(self)
        # Where each shard's sources stand, (id, next) by topic: folded here from the ledger alone.
        self.positions: dict[int, dict[str, tuple[str, int]]] = defaultdict(dict)
        # By block: where `commands` stood after it, and to where it was known to its writer when placed.
        self.commands_due: dict[bytes, tuple[str, int]] = {}
        self.commands_known: dict[bytes, tuple[str, int]] = {}
        self.operator, self.upgrade = Operator(self), Upgrade(self)
        self.roll = Roll(self)
        self.heads = dict.fromkeys(
            range(self.shards), ZERO_HASH
        )  # of the accepted chain, by the reader's rule
        self.accepted: dict[int, list[Block]] = defaultdict(list)
        self.wanted: dict[tuple[int, int], set[tuple[str, bytes]]] = {}  # outcomes of accepted blocks
        self.offsets: dict[tuple[int, int], int] = {}  # of accepted blocks, in the ledger
        self.published: set[tuple[str, bytes]] = set()
        self.missing: set[str] = set()  # topics of outcomes that do not exist
        self.copies: list[dict[int, Any]] = []
        self.clickhouse_down_until_s = 0.0
        self.clickhouse_starts = self.clock_step_ms = 0
        self.appends_under_way = 0
        self.seen: Counter[str] = Counter()
        self.failure: Violation | None = None
        self.told: list[str] = []
        self.intake = Group(self, "intake", tuple(sorted(traffic.TOPICS)), self._intake)
        self.archivers = Group(self, "archive", (LEDGER,), self._archiver)

    # --- what happened -------------------------------------------------------------------------------------

    def count(self, situation: str) -> None:
        """A situation that some run must have met."""
        self.seen[situation] += 1

    def story(self, line: str) -> None:
        """One line for whoever has to understand a failure."""
        self.told.append(f"{self.loop.time():8.3f} s  {line}")

    def violation(self, message: str) -> Violation:
        """A broken promise found within a worker's task: whatever the worker does with it, the run ends."""
        self.failure = self.failure or Violation(message)
        return self.failure

    def now_ms(self) -> int:
        """The broker's clock."""
        return self.start_ms + self.clock_step_ms + int(self.loop.time() * 1000)

    # --- the workers ---------------------------------------------------------------------------------------

    def _intake(self, process: Process) -> Any:
        store = StorePort(process, process.projection)
        ports = (store, LedgerPort(process), PublisherPort(process), TopicsPort(process))
        recovery, intake = (process.release[f"stream.engine.{name}"] for name in ("recovery", "intake"))
        expected = recovery.Expected("sim", self.shards, traffic.rules())
        return intake.Intake(
            expected, traffic.APPS, *ports, fail=lambda error: self._gives_up(process, error)
        )

    def _archiver(self, process: Process) -> Any:
        archive = process.release["stream.engine.archive"]
        return archive.ArchiveHandler(
            ArchivePort(process), process, fail=lambda error: self._gives_up(process, error)
        )

    def _commands_source(self) -> Span:
        return Span(COMMANDS, self.broker.ids[COMMANDS], 0, 0)

    def _gives_up(self, process: Process, error: BaseException) -> None:
        """What `end_process` does; only an operator's error that this run has caused may lead here."""
        if not isinstance(error, OperatorError):
            raise self.violation(f"{process.name} gives up: {error!r}") from error
        if self.seen["archive: rows lost"] and process.name.startswith("archive"):
            self.count("archive: a worker halts because rows were lost")
        elif not self.upgrade.accounts_for(process, error):
            raise self.violation(f"{process.name} gives up: {error}") from error
        process.crash(f"gives up: {error.message}")

    # --- Kafka ---------------------------------------------------------------------------------------------

    def fetch(self, tp: TP, first: int, size: int) -> Fetch | None:
        """What the broker answers: some of a partition from an offset on."""
        if tp.topic != LEDGER:
            return self.broker.fetch(tp, first, size)
        found = self.ledger.records(tp.partition)[first : first + size]
        records = [
            SimpleNamespace(offset=first + i, timestamp=0, value=v, headers=h)
            for i, (v, h) in enumerate(found)
        ]
        return Fetch(tp.topic, tp.partition, first, first + len(records), records) if records else None

    def land(self, shard: int, block: Block, writer: Process, known: tuple[str, int] = ("", 0)) -> int:
        """A block arrives in the ledger; readers accept it if it follows the head.

        `known`: to where `commands` was known to its writer.
        """
        offset = self.ledger.put(shard, *ledger_record(block))
        accepted = block.prev == self.heads[shard]
        if accepted:
            self.heads[shard] = block.hash
            self.accepted[shard].append(block)
            move(self.positions[shard], block)
            self.commands_due[block.hash] = self.positions[shard][COMMANDS]
            self.commands_known[block.hash] = known
            messages = messages_of(block)
            self.wanted[shard, block.meta.seq] = {(t, m.value) for t, ms in messages.items() for m in ms}
            self.offsets[shard, block.meta.seq] = offset
        owner = self.intake.owner.get(shard)
        if owner is not None and owner is not writer:
            kind = "accepted" if accepted else "ignored"
            self.count(f"ledger: a block of a former owner {kind}")
        elif not accepted:
            self.count("ledger: a repeated or late block ignored")
        text = "" if accepted else ", ignored"
        self.story(f"shard {shard}: block {block.meta.seq} of {writer.name} at ledger offset {offset}{text}")
        return offset

    def publish(self, shard: int, messages: dict[str, list[Message]]) -> set[str]:
        """Outcomes arrive, where their topic exists; they may only be of accepted blocks."""
        of_accepted = set().union(*(w for (s, _), w in self.wanted.items() if s == shard), set())
        there = {topic: batch for topic, batch in messages.items() if topic not in self.missing}
        for topic, batch in there.items():
            for message in batch:
                if (topic, message.value) not in of_accepted:
                    raise self.violation(
                        f"published an outcome that the ledger does not hold: {message.value!r}"
                    )
                self.published.add((topic, message.value))
        if there != messages:
            self.count("kafka: outcomes for a topic that does not exist")
        return messages.keys() - there.keys()

    # --- Redis ---------------------------------------------------------------------------------------------

    async def commit(self, change: Change, store: MemoryStore) -> None:
        """One worker's transaction runs, or what it stands on was moved since its read."""
        before_commit(self, change, store)
        try:
            await store.commit(change)
        except Doubt as doubt:
            self.count(f"redis: commit refused: {doubt}")
            raise
        finally:
            self.redis.heal(change.shard)
        self.redis.whole.add((store.projection, change.shard))
        hashes = [block.hash for block in self.accepted[change.shard]]
        if change.head.hash not in hashes:
            raise self.violation(
                f"Redis of shard {change.shard} moved to a head that the ledger does not hold"
            )
        for (shard, seq), offset in self.offsets.items():
            told = shard == change.shard and offset < change.head.published_to
            lags = {topic for topic, lag in change.head.lags.items() if lag.offset <= offset}
            promised = {(topic, value) for topic, value in self.wanted[shard, seq] if topic not in lags}
            if told and not promised <= self.published:
                raise self.violation(f"Redis says that block {seq} of shard {shard} is published; it is not")
        if change.prev == change.head.hash:
            self.count("intake: a shard handed over with nothing unpublished")

    # --- ClickHouse ----------------------------------------------------------------------------------------

    def archived(self, run: Run, mark: Mark, writer: Process) -> None:
        """An insert is applied."""
        assert run.first_seq == mark.seq + 1
        if self.archive.insert(run):
            self.count("archive: an insert repeated")
        owner = self.archivers.owner.get(run.shard)
        if owner is not None and owner is not writer:
            self.count("archive: an insert of a former owner")
        if len(run.blocks) > 1:
            self.count("archive: a run of several blocks")
        cut = self.accepted[run.shard][run.last_seq + 1 : run.last_seq + 2]
        if cut and month(cut[0]) != month(run.blocks[-1].block):
            self.count("archive: a run cut at a month")
        self.story(f"shard {run.shard}: {writer.name} inserts blocks {run.first_seq}-{run.last_seq}")

    # --- the run -------------------------------------------------------------------------------------------

    async def main(self, records: int) -> None:
        """Speaks while everything goes wrong, then lets it heal, and waits until all is settled."""
        for shard in range(self.shards):
            self.land(
                shard,
                genesis_block("sim", shard, GENESIS, self.start_ms - 60_000, [self._commands_source()]),
                Process(self, "up"),
            )
        beside = (trouble(self), self.operator.operate(), self.upgrade.roll(), self.roll.roll())
        workers = (self.intake.coordinate(2), self.archivers.coordinate(2))
        others = [self.loop.create_task(task) for task in (*workers, *beside)]
        try:
            speaking = self.loop.create_task(traffic.speak(self, records))
            await self._watched([speaking, *others], lambda: speaking.done())
            self.chance.healing = True
            self.story("no more faults from here on")
            self.missing.clear()
            self.upgrade.settle()
            self.operator.give_all()
            # An archive worker finds lost rows when it next writes to the shard or is assigned it anew.
            await self.archivers.rebalance()
            end_s = self.loop.time() + 120
            await self._watched(others, lambda: not unsettled(self) or self.loop.time() > end_s)
            if unsettled(self):
                raise Violation(f"120 s after the last fault: {unsettled(self)}")
        finally:
            for task in asyncio.all_tasks(self.loop):
                if task is not asyncio.current_task():
                    task.cancel()

    async def _watched(self, tasks: list[asyncio.Task], until: Callable[[], bool]) -> None:
        while not until():
            for task in tasks:
                if task.done() and task.exception():
                    raise task.exception()
            if self.failure:
                raise self.failure
            await asyncio.sleep(0.25)

    def check_sources(self, cycle: Cycle, ids: dict[str, str]) -> None:
        """The worker's own check, counted."""
        try:
            check_sources(cycle, ids)
        except Doubt:
            self.count("intake: made again between fetch and append")
            raise

    def run(self, records: int) -> None:
        """The whole run, in virtual time. Raises `Violation`."""

        self.loop.set_exception_handler(lambda loop, context: None)  # dead processes leave tasks behind
        asyncio.set_event_loop(self.loop)
        time_ns = mock.patch("time.time_ns", side_effect=lambda: self.now_ms() * 1_000_000)
        with time_ns, self.upgrade.watched():
            try:
                self.loop.run_until_complete(self.main(records))
            finally:
                self.loop.close()
                asyncio.set_event_loop(None)
