"""When an operator is to be called, and where the runbook says what to do.

One list for both: `points status` looks at what the workers say now, and docs/monitoring/alerts.yaml has the
same as Prometheus's rules, made by `python -m stream.telemetry.alerts > docs/monitoring/alerts.yaml`.
"""

import json
import re
import sys
from typing import NamedTuple

from stream.telemetry.queries import Difference, Query, Sum, Unserved, Values, Worst
from stream.telemetry.snapshot import JOB, Snapshot

GIB = 1 << 30
WEEK_S = 7 * 86_400
RUNBOOK = "docs/runbook.md"


class Alert(NamedTuple):
    """Fires once `query` has been above, or below, its limit for `for_s`.

    `severity`: critical (somebody is called), warning (within a day) or info. `summary` is a template of
    Prometheus's; `section` a heading of the runbook.
    """

    name: str
    severity: str
    query: Query
    summary: str
    section: str
    for_s: int = 0
    above: int | None = None
    below: int | None = None

    def holds(self, now: Snapshot, before: Snapshot | None = None) -> Values:
        """The groups for which the condition holds now, however long it has."""
        values = self.query.values(now, before)
        if (above := self.above) is not None:
            return {key: value for key, value in values.items() if value > above}
        return {key: value for key, value in values.items() if self.below is not None and value < self.below}

    def told(self, key: tuple[str, ...], value: float) -> str:
        """The summary of one group."""
        text = self.summary.replace("{{ $value | humanize }}", f"{value:,.0f}")
        for label, said in zip(self.query.by, key, strict=True):
            text = text.replace(f"{{{{ $labels.{label} }}}}", said)
        return text

    @property
    def expression(self) -> str:
        """The condition as Prometheus writes it."""
        limit = f"> {self.above}" if self.above is not None else f"< {self.below}"
        return f"{self.query.promql()} {limit}"


def _lag(stage: str) -> Worst:
    return Worst("max", ("shard",), "points_lag_seconds", (("stage", stage),))


ALERTS = (
    Alert(
        "PointsLawViolated",
        "critical",
        Difference(
            Sum(("instance", "app"), "points_records_received_total"),
            Sum(("instance", "app"), "points_verdicts_total"),
        ),
        "{{ $labels.app }}: received and verdicts differ by {{ $value | humanize }} records",
        "received and verdicts differ",
        above=0,
    ),
    Alert(
        "PointsInternalError",
        "critical",
        Sum(("app",), "points_verdicts_total", (("verdict", "internal_error"),)),
        "{{ $labels.app }}: the decision failed on {{ $value | humanize }} records",
        "the decision fails",
        above=0,
    ),
    Alert(
        "PointsWeekWithoutProgress",
        "critical",
        _lag("intake"),
        "shard {{ $labels.shard }}: a record has waited for a week; after 30 days it is deleted",
        "records deleted unread",
        above=WEEK_S,
    ),
    Alert(
        "PointsSourceStopped",
        "critical",
        Worst("max", ("app", "shard", "reason"), "points_source_stopped"),
        "{{ $labels.app }} is not read on in shard {{ $labels.shard }}: {{ $labels.reason }}",
        "a source that stopped",
        for_s=60,
        above=0,
    ),
    Alert(
        "PointsSurplusPartitions",
        "warning",
        Worst("max", ("app",), "points_surplus_partitions"),
        "{{ $labels.app }}: {{ $value | humanize }} partitions of its topic are no shard's, and not read",
        "a partition too many",
        for_s=60,
        above=0,
    ),
    Alert(
        "PointsWorkerDown",
        "critical",
        Worst("min", ("instance",), "up", (("job", JOB),)),
        "{{ $labels.instance }} does not answer",
        "worker killed",
        for_s=60,
        below=1,
    ),
    Alert(
        "PointsShardUnserved",
        "critical",
        Unserved("intake"),
        "{{ $value | humanize }} shards have no intake worker that decides",
        "shard without a worker",
        for_s=120,
        above=0,
    ),
    Alert(
        "PointsArchiveUnserved",
        "warning",
        Unserved("archive"),
        "{{ $value | humanize }} shards have no archive worker that writes",
        "shard without a worker",
        for_s=300,
        above=0,
    ),
    Alert(
        "PointsServiceAway",
        "critical",
        Worst("min", ("instance", "service"), "points_service_up"),
        "{{ $labels.service }} does not answer {{ $labels.instance }}",
        "a service does not answer",
        for_s=60,
        below=1,
    ),
    Alert(
        "PointsRedisRefuses",
        "critical",
        Worst("max", ("instance", "code"), "points_redis_refuses"),
        "Redis refuses what {{ $labels.instance }} asks: {{ $labels.code }}",
        "Redis refuses",
        for_s=60,
        above=0,
    ),
    Alert(
        "PointsIntakeLag",
        "warning",
        _lag("intake"),
        "shard {{ $labels.shard }}: the oldest record has waited for {{ $value | humanize }} s",
        "intake falls behind",
        for_s=120,
        above=60,
    ),
    Alert(
        "PointsPublicationStuck",
        "critical",
        _lag("publication"),
        "shard {{ $labels.shard }}: outcomes that are decided wait for {{ $value | humanize }} s",
        "publication is stuck",
        for_s=60,
        above=60,
    ),
    Alert(
        "PointsArchiveLag",
        "warning",
        _lag("archive"),
        "shard {{ $labels.shard }}: the oldest block has waited for {{ $value | humanize }} s",
        "ClickHouse down",
        for_s=120,
        above=300,
    ),
    Alert(
        "PointsDeadLettersOld",
        "warning",
        Worst("max", ("app",), "points_dead_letters_old"),
        "{{ $labels.app }}: {{ $value | humanize }} records refused 20 days ago wait for somebody",
        "refused records",
        above=0,
    ),
    Alert(
        "PointsRecoveriesFlapping",
        "warning",
        Sum(("instance", "reason"), "points_recoveries_total", window_min=10),
        "{{ $labels.instance }}: {{ $value | humanize }} recoveries in 10 minutes ({{ $labels.reason }})",
        "recoveries again and again",
        above=30,
    ),
    Alert(
        "PointsRedisRebuilt",
        "info",
        Sum(("instance",), "points_rebuilds_total", window_min=60),
        "{{ $labels.instance }} made {{ $value | humanize }} shards of Redis again from the ledger",
        "Redis lost or rolled back",
        above=0,
    ),
    Alert(
        "PointsDiskFilling",
        "warning",
        Worst("min", ("instance",), "points_disk_free_bytes"),
        "{{ $labels.instance }}: less than 5 GiB are left on the disk of the data folder",
        "disk full",
        for_s=300,
        below=5 * GIB,
    ),
)


def anchor(section: str) -> str:
    """The fragment under which a heading is reached."""
    return re.sub(r"[^\w\- ]", "", section.lower()).replace(" ", "-")


def rules_file() -> str:
    """docs/monitoring/alerts.yaml."""
    lines = ["# Made by `python -m stream.telemetry.alerts`, where the limits are; a test compares."]
    lines += ["groups:", "  - name: points", "    rules:"]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {json.dumps(alert.expression)}",
            f"        for: {alert.for_s}s",
            f"        labels: {{severity: {alert.severity}}}",
            "        annotations:",
            f"          summary: {json.dumps(alert.summary)}",
            f"          runbook_url: {RUNBOOK}#{anchor(alert.section)}",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(rules_file())
