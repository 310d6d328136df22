"""An intake worker's shards as they are at a scrape."""

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas.block import Block
from schemas.report import shanghai_day
from schemas.state import Head, Lag
from schemas.topics import app_of, outcomes_app_of
from stream.core.cycle_input import Buffer
from stream.telemetry.backlog import Backlog
from stream.telemetry.gauges import Gauges
from stream.telemetry.worker import now_ms

PLATFORM = "(platform)"  # in place of an app's id, for commands; no app can be called so


def label_of(topic: str) -> str:
    """The label `app` of a source topic: bounded by the registered apps."""
    return app_of(topic) or PLATFORM


class ReadyShard(Protocol):
    """What is looked at of a recovered shard. It is the worker's, and read anew at each scrape."""

    number: int
    head: Head
    buffer: Buffer
    lags: dict[str, Lag]
    ignored_records: int


class ShardWatch:
    """One shard in the hands of this worker."""

    def __init__(self) -> None:
        self.backlogs: dict[str, Backlog] = {}  # by topic
        self.stopped: dict[str, str] = {}  # topics that are not read, and why
        self.ready: ReadyShard | None = None
        self.recovering_since_ms = now_ms()
        self.step: tuple[str, float] | None = None  # of the running cycle, and when it began
        self.pending: Block | None = None  # was given to the ledger, and is not known to be applied
        self.unanswered = ""  # the service behind the next doubt
        self.refused = ""  # the code with which Redis refused last, until the shard is ready again
        self.unpublished_since_ms: deque[int] = deque()  # one entry a block


class IntakeState(Collector):
    """Gauges of every shard in `watches`."""

    def __init__(self, watches: dict[int, ShardWatch]) -> None:
        self._watches = watches

    def collect(self) -> Iterable[GaugeMetricFamily]:
        gauges, now = Gauges(), now_ms()
        for number, watch in self._watches.items():
            shard = watch.ready
            recovering_ms = 0 if shard else now - watch.recovering_since_ms
            gauges.add("points_shard_ready", int(shard is not None), stage="intake", shard=number)
            gauges.add("points_shard_recovering_seconds", recovering_ms / 1000, stage="intake", shard=number)
            for topic, reason in watch.stopped.items():
                gauges.add("points_source_stopped", 1, app=label_of(topic), shard=number, reason=reason)
            for topic in shard.lags if shard else ():
                gauges.add("points_outcomes_missing", 1, app=outcomes_app_of(topic), shard=number)
            for topic in shard.buffer.used_up(shanghai_day(now)) if shard else ():
                gauges.add(
                    "points_source_stopped", 1, app=label_of(topic), shard=number, reason="rows_per_day"
                )
            if shard:
                gauges.add("points_shard_seq", shard.head.seq, stage="intake", shard=number)
            if watch.refused:
                gauges.add("points_redis_refuses", 1, shard=number, code=watch.refused)
            held = sum(backlog.held() for backlog in watch.backlogs.values())
            gauges.add("points_held_records", held, stage="intake", shard=number)
            gauges.add("points_held_bytes", shard.buffer.nbytes if shard else 0, stage="intake", shard=number)
            self._add_lags(gauges, number, watch, now, recovering_ms)
        return gauges.families()

    @staticmethod
    def _add_lags(gauges: Gauges, number: int, watch: ShardWatch, now: int, recovering_ms: int) -> None:
        for topic, backlog in watch.backlogs.items():
            gauges.add("points_lag_records", backlog.lag(), stage="intake", app=label_of(topic), shard=number)
        oldest_ms = max([recovering_ms, *(backlog.lag_ms(now) for backlog in watch.backlogs.values())])
        gauges.add("points_lag_seconds", oldest_ms / 1000, stage="intake", shard=number)
        unpublished = watch.unpublished_since_ms
        waits_ms = now - unpublished[0] if unpublished else 0
        gauges.add("points_lag_seconds", waits_ms / 1000, stage="publication", shard=number)
        gauges.add("points_lag_blocks", len(unpublished), stage="publication", shard=number)
