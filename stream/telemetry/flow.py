"""What `points status` shows of the flow, worked out of snapshots. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from stream.telemetry.alerts import ALERTS
from stream.telemetry.snapshot import Snapshot

STEPS = ("take", "read", "decide", "append", "apply", "wait")


class Stage(msgspec.Struct, frozen=True):
    """A stage between two snapshots: intake in records, publication in blocks, archive in rows a second.

    `lag`: records that wait for intake, blocks that wait for publication or archive. None: nobody says.
    """

    name: str
    per_s: float | None
    lag: int | None
    lag_s: float | None


class App(msgspec.Struct, frozen=True):
    """Records of an app since the workers that run now were started."""

    app: str
    received: int
    verdicts: dict[str, int]

    @property
    def adds_up(self) -> bool:
        """Whether every record received has its verdict."""
        return self.received == sum(self.verdicts.values())


class Shard(msgspec.Struct, frozen=True):
    """One shard. What only a worker knows is None where no worker has it."""

    number: int
    worker: str | None = None
    ready: bool = False
    seq: int | None = None
    lag_records: int | None = None
    lag_s: float | None = None
    held_records: int | None = None
    unpublished_blocks: int | None = None
    archived_seq: int | None = None

    @property
    def behind(self) -> int | None:
        """Blocks that are decided and not archived."""
        if self.seq is None or self.archived_seq is None:
            return None
        return max(0, self.seq - self.archived_seq)


class Firing(msgspec.Struct, frozen=True):
    """A condition that holds now; its alert fires once it has held for `for_s`."""

    alert: str
    severity: str
    told: str
    for_s: int
    section: str


class Cycle(msgspec.Struct, frozen=True):
    """Means over the cycles between two snapshots."""

    rows: float
    duration_ms: float
    step_ms: dict[str, float]


class Flow(msgspec.Struct, frozen=True):
    """Everything at one moment."""

    stages: list[Stage]
    apps: list[App]
    shards: list[Shard]
    firing: list[Firing]
    cycle: Cycle | None


def flow(
    now: Snapshot,
    before: Snapshot | None = None,
    long_before: Snapshot | None = None,
    archived: Mapping[int, int] | None = None,
) -> Flow:
    """`before`: what rates are taken against; `long_before`: what alerts on increases look back to;
    `archived`: the seq at which each shard's archive was seen last, for when nobody says any more."""
    shards = [_shard(now, number, (archived or {}).get(number)) for number in _numbers(now)]
    return Flow(
        stages=[
            _stage(now, before, "intake", "points_records_received_total", "points_lag_records"),
            _stage(now, before, "publication", "points_published_blocks_total", "points_lag_blocks"),
            _stage(now, before, "archive", "points_archived_rows_total", "points_lag_blocks", shards),
        ],
        apps=_apps(now),
        shards=shards,
        firing=[
            Firing(alert.name, alert.severity, alert.told(key, value), alert.for_s, alert.section)
            for alert in ALERTS
            for key, value in sorted(alert.holds(now, long_before).items())
        ],
        cycle=_cycle(now, before),
    )


def _stage(
    now: Snapshot, before: Snapshot | None, stage: str, counter: str, lag: str, shards: Sequence[Shard] = ()
) -> Stage:
    """Where no worker says what waits, it is what `shards` have and the archive did not have last."""
    waiting = [sample.value for sample in now.select(lag, stage=stage)]
    waiting = waiting or [shard.behind for shard in shards if shard.behind is not None]
    ages = [sample.value for sample in now.select("points_lag_seconds", stage=stage)]
    return Stage(
        stage,
        _rate(now, before, counter),
        int(sum(waiting)) if waiting else None,
        max(ages, default=None),
    )


def _rate(now: Snapshot, before: Snapshot | None, counter: str) -> float | None:
    """A second, over the workers that were there before: a new one's past is not this second's."""
    if before is None:
        return None
    earlier = before.sums(counter, ("instance",))
    risen = [
        value - earlier[worker]
        for worker, value in now.sums(counter, ("instance",)).items()
        if worker in earlier and value >= earlier[worker]
    ]
    return sum(risen) / (now.at_s - before.at_s) if risen else None


def _apps(now: Snapshot) -> list[App]:
    verdicts: dict[str, dict[str, int]] = {}
    for (app, verdict), records in now.sums("points_verdicts_total", ("app", "verdict")).items():
        if records:
            verdicts.setdefault(app, {})[verdict] = int(records)
    received = now.sums("points_records_received_total", ("app",))
    return [App(app, int(records), verdicts.get(app, {})) for (app,), records in sorted(received.items())]


def _numbers(now: Snapshot) -> list[int]:
    """All shards, those included that nobody has."""
    count = int(max((sample.value for sample in now.select("points_shards")), default=0))
    had = {int(sample.labels["shard"]) for sample in now.select("points_shard_ready")}
    return sorted(had | set(range(count)))


def _shard(now: Snapshot, number: int, last_archived: int | None) -> Shard:
    labels = {"stage": "intake", "shard": str(number)}
    # For a moment two workers may hold a shard: the one that serves it, or that has it at all.
    owners = sorted(now.select("points_shard_ready", **labels), key=lambda sample: -sample.value)
    archived = _value(now, "points_shard_seq", stage="archive", shard=str(number))
    archived = last_archived if archived is None else archived
    if not owners:
        return Shard(number, archived_seq=archived)
    labels |= {"instance": owners[0].labels["instance"]}
    publication = labels | {"stage": "publication"}
    return Shard(
        number,
        labels["instance"],
        bool(owners[0].value),
        _value(now, "points_shard_seq", **labels),
        int(now.total("points_lag_records", **labels)),
        now.total("points_lag_seconds", **labels),
        _value(now, "points_held_records", **labels),
        _value(now, "points_lag_blocks", **publication),
        archived,
    )


def _value(now: Snapshot, name: str, **labels: str) -> int | None:
    return max((int(sample.value) for sample in now.select(name, **labels)), default=None)


def _cycle(now: Snapshot, before: Snapshot | None) -> Cycle | None:
    def risen(name: str, **labels: str) -> float:
        return max(0.0, now.total(name, **labels) - (before.total(name, **labels) if before else 0))

    cycles = risen("points_cycle_seconds_count")
    if not cycles:
        return None
    step_ms = {
        step: 1_000 * risen("points_cycle_step_seconds_sum", step=step) / cycles
        for step in (*STEPS, "publish")
    }
    rows = risen("points_cycle_rows_sum") / cycles
    return Cycle(rows, 1_000 * risen("points_cycle_seconds_sum") / cycles, step_ms)
