"""Questions to the workers' metrics that Prometheus and `points status` answer alike."""

from typing import NamedTuple, Protocol

from stream.telemetry.snapshot import Snapshot

Values = dict[tuple[str, ...], float]
Labels = tuple[tuple[str, str], ...]


class Query(Protocol):
    """Something that Prometheus and `points status` evaluate alike."""

    @property
    def by(self) -> tuple[str, ...]:
        """The labels that make a group."""

    def promql(self) -> str:
        """As Prometheus writes it."""

    def values(self, now: Snapshot, before: Snapshot | None) -> Values:
        """By the labels `by`. An increase is taken from `before`; without it there is none."""


class Worst(NamedTuple):
    """The largest, or the smallest, sample of each group."""

    how: str  # max, min
    by: tuple[str, ...]
    metric: str
    labels: Labels = ()

    def promql(self) -> str:
        return f"{_fold(self.how, self.by)} ({_selector(self.metric, self.labels)})"

    def values(self, now: Snapshot, before: Snapshot | None) -> Values:
        values: Values = {}
        for sample in now.select(self.metric, **dict(self.labels)):
            key = tuple(sample.labels.get(label, "") for label in self.by)
            values[key] = {"max": max, "min": min}[self.how](values.get(key, sample.value), sample.value)
        return values


class Sum(NamedTuple):
    """The sum of each group; with `window_min`, of what counters rose by within so many minutes."""

    by: tuple[str, ...]
    metric: str
    labels: Labels = ()
    window_min: int | None = None

    def promql(self) -> str:
        selector = _selector(self.metric, self.labels)
        if self.window_min:
            selector = f"increase({selector}[{self.window_min}m])"
        return f"{_fold('sum', self.by)} ({selector})"

    def values(self, now: Snapshot, before: Snapshot | None) -> Values:
        sums = now.sums(self.metric, self.by, **dict(self.labels))
        if not self.window_min:
            return sums
        if before is None:
            return {}
        earlier = before.sums(self.metric, self.by, **dict(self.labels))
        return {key: _risen(value, earlier.get(key, value)) for key, value in sums.items()}


class Difference(NamedTuple):
    """How far two queries are apart."""

    one: Sum
    other: Sum

    @property
    def by(self) -> tuple[str, ...]:
        return self.one.by

    def promql(self) -> str:
        return f"abs({self.one.promql()} - {self.other.promql()})"

    def values(self, now: Snapshot, before: Snapshot | None) -> Values:
        ones, others = self.one.values(now, before), self.other.values(now, before)
        return {key: abs(ones[key] - others[key]) for key in ones.keys() & others.keys()}


class Unserved(NamedTuple):
    """Shards that no worker serves."""

    stage: str
    by: tuple[str, ...] = ()

    def promql(self) -> str:
        ready = Worst("max", ("shard",), "points_shard_ready", (("stage", self.stage),))
        return f"max (points_shards) - (sum ({ready.promql()}) or vector(0))"

    def values(self, now: Snapshot, before: Snapshot | None) -> Values:
        ready = Worst("max", ("shard",), "points_shard_ready", (("stage", self.stage),))
        shards = [sample.value for sample in now.select("points_shards")]
        return {(): max(shards) - sum(ready.values(now, before).values())} if shards else {}


def _fold(how: str, by: tuple[str, ...]) -> str:
    return f"{how} by ({', '.join(by)})" if by else how


def _selector(metric: str, labels: Labels) -> str:
    return metric + ("{" + ", ".join(f'{name}="{value}"' for name, value in labels) + "}" if labels else "")


def _risen(now: float, earlier: float) -> float:
    """By how much a counter rose; a worker that was started again counts from 0."""
    return now - earlier if now >= earlier else now
