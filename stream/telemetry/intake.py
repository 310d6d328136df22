"""The metrics of an intake worker.

What is counted, and when: a record is *received* once the transport has delivered it and the block that
decides it is in Redis, as far as this worker has seen: applied by its cycle, or found applied, or applied, by
the recovery that settled a doubt. Its *verdict* is counted at the same moment. The two numbers come by
different ways, one from deliveries and the positions in Redis's head, one from the rows of the block, and
must be equal for every app. Blocks of others, which recovery applies for them, are counted apart.

Everything happens in the worker's event loop, and so does a scrape: it never sees half a cycle.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from faust.types.tuples import TP
from prometheus_client import Counter, Gauge, Histogram

from schemas.block import Block
from schemas.limits import CYCLE_ROWS_MAX
from schemas.state import Change, Head, Source
from schemas.verdicts import CODES, Verdict
from sinks.ports import Doubt
from stream.batches.fetch import Fetch
from stream.telemetry.backlog import Backlog
from stream.telemetry.intake_state import IntakeState, ReadyShard, ShardWatch, label_of
from stream.telemetry.worker import SECONDS, Consumer, WorkerMetrics, now_ms

ROWS = (1, 10, 100, 1_000, 2_000, 4_000, 8_000, CYCLE_ROWS_MAX)
OVERTAKEN = "overtaken"  # the reason of a recovery where every service had answered


class IntakeMetrics(WorkerMetrics):
    """Told by `Intake` and by the ports around it."""

    def __init__(self, shards: int) -> None:
        super().__init__()
        Gauge("points_shards", "Shards of the platform.", registry=self.registry).set(shards)
        self._surplus = Gauge(
            "points_surplus_partitions",
            "Partitions of a source topic that are no shard's: what is sent there is not read.",
            ["app"],
            registry=self.registry,
        )
        self.watches: dict[int, ShardWatch] = {}
        self.registry.register(IntakeState(self.watches))
        self._make_counters()
        self._make_histograms()

    def _make_counters(self) -> None:
        self._received = Counter(
            "points_records_received",
            "Records whose decision is in Redis, counted from deliveries and positions. For each app, at any"
            " scrape, equal to the sum of points_verdicts_total.",
            ["app"],
            registry=self.registry,
        )
        self._verdicts = Counter(
            "points_verdicts",
            "Records whose decision is in Redis, by verdict, counted from the rows of blocks.",
            ["app", "verdict"],
            registry=self.registry,
        )
        self._own_rows = Counter(
            "points_platform_rows",
            "Rows of blocks that belong to no record.",
            ["verdict"],
            registry=self.registry,
        )
        self._blocks = Counter("points_blocks", "Blocks appended and applied.", registry=self.registry)
        self._published = Counter(
            "points_published_blocks",
            "Blocks whose outcomes and dead letters are on Kafka, repetitions included.",
            registry=self.registry,
        )
        self._folded = Counter(
            "points_folded_blocks",
            "Blocks that recovery applied: another worker appended them, or Redis had lost them.",
            registry=self.registry,
        )
        self._recoveries = Counter(
            "points_recoveries",
            "Doubts, each followed by a recovery: redis or kafka did not answer; overtaken: another worker"
            " was faster, or Redis went back.",
            ["reason"],
            registry=self.registry,
        )
        self.rebuilds = Counter(
            "points_rebuilds", "Shards that Redis did not have, or had torn.", registry=self.registry
        )
        self._ignored = Counter(
            "points_ledger_ignored_records",
            "Records of the ledger met by a recovery that do not count: a former owner's blocks, or garbage.",
            registry=self.registry,
        )
        self._refusals = Counter(
            "points_redis_refusals",
            "Requests that Redis refused, by the first word of what it said: OOM is a full one.",
            ["code"],
            registry=self.registry,
        )
        for reason in ("redis", "kafka", OVERTAKEN):
            self._recoveries.labels(reason)

    def _make_histograms(self) -> None:
        self._cycle_s = Histogram(
            "points_cycle_seconds", "Duration of whole cycles.", buckets=SECONDS, registry=self.registry
        )
        self._step_s = Histogram(
            "points_cycle_step_seconds",
            "Duration of the steps of a cycle: take, read, decide, append, apply, wait (for the publication"
            " before it); and of publish, which runs beside the next cycle.",
            ["step"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._cycle_rows = Histogram(
            "points_cycle_rows", "Rows of a block.", buckets=ROWS, registry=self.registry
        )

    def backlog(self, tp: TP) -> Backlog | None:
        watch = self.watches.get(tp.partition)
        return watch.backlogs.setdefault(tp.topic, Backlog()) if watch else None

    def is_placed(self, tp: TP) -> bool:
        watch = self.watches.get(tp.partition)
        return watch is not None and watch.ready is not None

    # --- what Intake tells -------------------------------------------------------------------------------

    def assigned(self, shards: set[int], consumer: Consumer) -> None:
        """These shards, and no others, are this worker's; each is being recovered."""
        self.consumer = consumer
        self.watches.clear()
        self.watches.update({shard: ShardWatch() for shard in sorted(shards)})

    def ready(self, shard: ReadyShard, sources: dict[str, Source]) -> None:
        """The shard is recovered, and delivery of these sources begins where they stand."""
        watch = self.watches[shard.number]
        watch.ready, watch.pending, watch.refused = shard, None, ""
        watch.unpublished_since_ms.clear()
        self._ignored.inc(shard.ignored_records)
        shard.ignored_records = 0
        for topic, source in sources.items():
            watch.stopped.pop(topic, None)
            watch.backlogs.setdefault(topic, Backlog()).place(source.next)
            self._received.labels(label_of(topic))
            self._verdicts.labels(label_of(topic), Verdict.INTERNAL_ERROR.code)

    def source_stopped(self, tp: TP, reason: str) -> None:
        """A source of the shard is not read."""
        self.watches[tp.partition].stopped[tp.topic] = reason

    def surplus(self, topic: str, partitions: int) -> None:
        """So many partitions of a topic are no shard's."""
        self._surplus.labels(label_of(topic)).set(partitions)

    def delivered(self, fetch: Fetch) -> None:
        """The shard's buffer took a fetch."""
        self.watches[fetch.partition].backlogs.setdefault(fetch.topic, Backlog(fetch.first)).deliver(fetch)

    def doubted(self, shard: int, doubt: Doubt) -> None:
        """The shard goes into recovery."""
        watch = self.watches[shard]
        self._recoveries.labels(watch.unanswered or "kafka" if doubt.__cause__ else OVERTAKEN).inc()
        if watch.ready:
            watch.recovering_since_ms = now_ms()
        watch.ready, watch.step, watch.unanswered = None, None, ""

    @contextmanager
    def cycle(self, shard: int) -> Iterator[None]:
        """Around one cycle; one that ends in a doubt leaves no durations."""
        began_s = time.perf_counter()
        self.watches[shard].step = ("take", began_s)
        yield
        watch = self.watches[shard]
        if watch.step and watch.step[0] == "take":  # nothing might be decided yet
            watch.step = None
            return
        self.enter(shard, "")
        self._cycle_s.observe(time.perf_counter() - began_s)

    # --- what the ports tell -----------------------------------------------------------------------------

    def enter(self, shard: int, step: str) -> None:
        """The running cycle begins another step, or none. Recovery uses the ports as well: no cycle runs."""
        watch = self.watches.get(shard)
        if watch and watch.step:
            left, since_s = watch.step
            now_s = time.perf_counter()
            self._step_s.labels(left).observe(now_s - since_s)
            watch.step = (step, now_s) if step else None

    def appending(self, block: Block) -> None:
        """A block goes to the ledger."""
        if watch := self.watches.get(block.meta.shard):
            watch.pending = block

    def saw_head(self, shard: int, head: Head | None) -> None:
        """Recovery found this head in Redis: it tells whether the block in doubt was applied."""
        if head and (watch := self.watches.get(shard)):
            self._settle(watch, head, [head.hash])

    def applied(self, change: Change) -> None:
        """Redis moved to a new head."""
        if watch := self.watches.get(change.shard):
            watch.unpublished_since_ms.extend([now_ms()] * len(change.blocks))
            mine = self._settle(watch, change.head, change.blocks)
            self._folded.inc(len(change.blocks) - mine)

    def published(self, shard: int, duration_s: float) -> None:
        """A block's outcomes and dead letters are on Kafka."""
        self._step_s.labels("publish").observe(duration_s)
        self._published.inc()
        if (watch := self.watches.get(shard)) and watch.unpublished_since_ms:
            watch.unpublished_since_ms.popleft()

    def answered(self, service: str, shard: int, answered: bool) -> None:
        """A service did what was asked, or left it in doubt."""
        self.service_answered(service, answered)
        if not answered and (watch := self.watches.get(shard)):
            watch.unanswered = service

    def refused(self, shard: int, code: str) -> None:
        """Redis is there, and refuses."""
        self._refusals.labels(code).inc()
        if watch := self.watches.get(shard):
            watch.refused = code

    def _settle(self, watch: ShardWatch, head: Head, blocks: list[bytes]) -> bool:
        """Everything below the head's positions is decided. Counted here is what the pending block decided,
        if it is one of the blocks that led to the head: others' may come behind it."""
        block = watch.pending
        mine = block if block is not None and block.hash in blocks else None
        if mine:
            last = mine.hash == head.hash
            positions = head.sources if last else {span.topic: span for span in mine.meta.sources}
            for topic, position in positions.items():
                records = watch.backlogs.setdefault(topic, Backlog()).settle(position.next)
                self._received.labels(label_of(topic)).inc(records)
            self._count_rows(mine)
            watch.pending = None
        for topic, source in head.sources.items():
            watch.backlogs.setdefault(topic, Backlog()).settle(source.next)
        return mine is not None

    def _count_rows(self, block: Block) -> None:
        self._blocks.inc()
        self._cycle_rows.observe(block.rows.num_rows)
        for (source, verdict), rows in tally(block).items():
            if source < 0:
                self._own_rows.labels(CODES[verdict]).inc(rows)
            else:
                app = label_of(block.meta.sources[source].topic)
                self._verdicts.labels(app, CODES[verdict]).inc(rows)


def tally(block: Block) -> dict[tuple[int, int], int]:
    """Records of a block by (source, verdict), a range counts its offsets; source -1 for rows of no record.

    Records that were lost unread are none: nobody delivered them.
    """
    column = {
        name: block.rows.column(name).to_numpy() for name in ("source", "verdict", "offset", "last_offset")
    }
    source = np.where(column["verdict"] == int(Verdict.DELETED_UNREAD), -1, column["source"].astype(np.int64))
    pairs = (source + 1) * 256 + column["verdict"]
    weights = np.where(source < 0, 1, column["last_offset"] - column["offset"] + 1)
    rows = np.bincount(pairs, weights)
    return {(int(p) // 256 - 1, int(p) % 256): int(rows[p]) for p in np.flatnonzero(rows)}
