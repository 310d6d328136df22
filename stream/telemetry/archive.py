"""The metrics of an archive worker."""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from faust.types.tuples import TP
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas.limits import ARCHIVE_RUN_ROWS_MIN
from sinks.clickhouse.errors import ArchiveUnavailable
from sinks.clickhouse.run import NOTHING, Archive, Mark, Run
from stream.batches.fetch import Fetch
from stream.telemetry.backlog import Backlog
from stream.telemetry.gauges import Gauges
from stream.telemetry.worker import SECONDS, Consumer, WorkerMetrics, now_ms

ROWS = (1, 100, 1_000, 10_000, 25_000, ARCHIVE_RUN_ROWS_MIN, 70_000)


class Progress(NamedTuple):
    """How far a placed shard is: ledger records below `settled` are archived, or nobody's."""

    mark: Mark
    settled: int
    held_bytes: int


class ArchiveMetrics(WorkerMetrics):
    """Told by `ArchiveHandler` and by the archive around which it stands; `progress` is the handler's."""

    def __init__(self, progress: Callable[[int], Progress | None]) -> None:
        super().__init__()
        self.progress = progress
        self.backlogs: dict[int, Backlog] = {}
        self.assigned_ms = 0
        self.registry.register(_ArchiveState(self))
        self._archived = Counter(
            "points_archived_rows", "Rows written and read back as there.", registry=self.registry
        )
        self._dead_letters = Gauge(
            "points_dead_letters_old",
            "Records refused more than 20 days ago that were neither replayed nor dismissed; their bytes are"
            " deleted after 30.",
            ["app"],
            registry=self.registry,
        )
        self._unavailable = Counter(
            "points_archive_retries",
            "Calls of ClickHouse that failed and are made again.",
            registry=self.registry,
        )
        self._ignored = Counter(
            "points_ledger_ignored_records",
            "Records of the ledger that do not count: a former owner's blocks, or garbage.",
            registry=self.registry,
        )
        self._insert_s = Histogram(
            "points_archive_insert_seconds",
            "Duration of an insert and of reading the mark after it.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._insert_rows = Histogram(
            "points_archive_insert_rows", "Rows of an insert.", buckets=ROWS, registry=self.registry
        )

    def old_dead_letters(self, records: dict[str, int]) -> None:
        """So many refused records of each app wait for somebody; of all others none."""
        self._dead_letters.clear()
        for app, count in records.items():
            self._dead_letters.labels(app).set(count)

    def backlog(self, tp: TP) -> Backlog | None:
        return self.backlogs.get(tp.partition)

    def is_placed(self, tp: TP) -> bool:
        return self.progress(tp.partition) is not None

    def assigned(self, shards: set[int], consumer: Consumer) -> None:
        """These shards, and no others, are this worker's; their marks are being read."""
        self.consumer, self.assigned_ms = consumer, now_ms()
        self.backlogs.clear()
        self.backlogs.update({shard: Backlog() for shard in sorted(shards)})

    def placed(self, shard: int, position: int) -> None:
        """The mark is read; delivery begins at `position`."""
        self.backlogs[shard].place(position)

    def delivered(self, fetch: Fetch, ignored: int) -> None:
        """The shard took a fetch, of which so many records do not count."""
        self._ignored.inc(ignored)
        self.backlogs[fetch.partition].deliver(fetch)
        self.settle(fetch.partition)

    def settle(self, shard: int) -> None:
        """Takes note of how far the shard is."""
        if progress := self.progress(shard):
            self.backlogs[shard].settle(progress.settled)

    def inserted(self, rows: int, duration_s: float) -> None:
        """A run is archived."""
        self._archived.inc(rows)
        self._insert_rows.observe(rows)
        self._insert_s.observe(duration_s)

    def answered(self, answered: bool) -> None:
        """ClickHouse did what was asked, or it is not known whether it did."""
        self.service_answered("clickhouse", answered)
        if not answered:
            self._unavailable.inc()


class WatchedArchive:
    """`Archive` that tells `metrics` what becomes of it; its thread is not the worker's."""

    def __init__(self, archive: Archive, metrics: ArchiveMetrics) -> None:
        self._archive, self._metrics = archive, metrics

    def high_water(self, shard: int, verified: Mark = NOTHING) -> Mark:
        return self._ask(self._archive.high_water, shard, verified)

    def append(self, run: Run, mark: Mark) -> Mark:
        began_s = time.perf_counter()
        reached = self._ask(self._archive.append, run, mark)
        self._metrics.inserted(run.rows, time.perf_counter() - began_s)
        return reached

    def _ask(self, call: Callable[..., Mark], *arguments: object) -> Mark:
        try:
            answer = call(*arguments)
        except ArchiveUnavailable:
            self._metrics.answered(False)
            raise
        self._metrics.answered(True)
        return answer

    def close(self) -> None:
        self._archive.close()


class _ArchiveState(Collector):
    """An archive worker's shards as they are at a scrape."""

    def __init__(self, metrics: ArchiveMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[GaugeMetricFamily]:
        gauges, now = Gauges(), now_ms()
        for shard, backlog in self._metrics.backlogs.items():
            progress = self._metrics.progress(shard)
            labels: dict[str, str | int] = {"stage": "archive", "shard": shard}
            self._metrics.settle(shard)
            unready_ms = 0 if progress else now - self._metrics.assigned_ms
            gauges.add("points_shard_ready", int(progress is not None), **labels)
            gauges.add("points_shard_recovering_seconds", unready_ms / 1000, **labels)
            if progress:
                gauges.add("points_shard_seq", progress.mark.seq, **labels)
                gauges.add("points_held_bytes", progress.held_bytes, **labels)
            gauges.add("points_lag_blocks", backlog.lag(), **labels)
            gauges.add("points_lag_seconds", max(backlog.lag_ms(now), unready_ms) / 1000, **labels)
        return gauges.families()
