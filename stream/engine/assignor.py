"""Which worker has which partitions: a shard is the same partition of all topics, and one worker's."""

from typing import Any

from faust.assignor import PartitionAssignor


class ShardAssignor(PartitionAssignor):
    """Faust's assignor, for which every topic has as many partitions as there are shards.

    It would assign a topic with a partition too many apart from all others, and so part its records from
    their shards. What is beyond the shards is nobody's.
    """

    def assign(self, cluster: Any, member_metadata: Any) -> Any:
        return super().assign(_Shards(cluster, self.app.conf.topic_partitions), member_metadata)


class _Shards:
    """The cluster without the partitions that are no shard's."""

    def __init__(self, cluster: Any, shards: int) -> None:
        self._cluster, self._shards = cluster, shards

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {p for p in self._cluster.partitions_for_topic(topic) or () if p < self._shards}
