"""Gauges that are read off a worker's state when it is scraped, rather than kept up to date all along."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily

HELP = {
    "points_shard_ready": "1 if this worker serves the shard, 0 while it recovers it, or reads its mark.",
    "points_shard_seq": "Seq of the last block that the stage has done with: applied, or archived.",
    "points_shard_recovering_seconds": "For how long the shard has not been ready; 0 if it is.",
    "points_lag_seconds": "Age of the oldest record or block that waits for the stage, by the broker's clock;"
    " of a shard that is not ready, at least for how long it has not been.",
    "points_lag_records": "Offsets of an intake topic that are not decided yet.",
    "points_lag_blocks": "Blocks that wait for the stage: publication, or archive.",
    "points_source_stopped": "1 for a source that a shard does not read on; reason: made_again, missing,"
    " deleted_unread, damaged, or rows_per_day, which ends with the day.",
    "points_redis_refuses": "1 for a shard that waits because Redis refuses what it is asked; code: the first"
    " word of what it says.",
    "points_held_records": "Records delivered to this worker and not decided yet.",
    "points_held_bytes": "Memory for what waits: values of records, or rows for the archive.",
}


class Gauges:
    """One scrape's samples."""

    def __init__(self) -> None:
        self._families: dict[str, GaugeMetricFamily] = {}

    def add(self, name: str, value: float, **labels: str | int) -> None:
        """One sample; all samples of a name have the same labels."""
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = GaugeMetricFamily(name, HELP[name], labels=list(labels))
        family.add_metric([str(label) for label in labels.values()], value)

    def families(self) -> Iterable[GaugeMetricFamily]:
        """All metrics that have samples."""
        return self._families.values()
