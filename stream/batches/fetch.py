"""One fetch of one partition, as the transport hands it over."""

from typing import Any, NamedTuple

from stream.batches.reader import Batch


class Fetch(NamedTuple):
    """One fetch of one partition: offsets `first` <= o < `next`; `first` is where the fetch was to continue.

    `records`: packed batches (`stream.batches.reader.Batch`) of what apps send, aiokafka's ConsumerRecords of
    the ledger, in offset order; offsets may be missing (transaction markers), or all of them. `end`: up to
    which offset there are records that may be read. `more`: another topic's fetch of the same shard follows
    at once.
    """

    topic: str
    partition: int
    first: int
    next: int
    records: list[Any]
    end: int = 0
    more: bool = False

    @property
    def extents(self) -> list[tuple[int, int, int]]:
        """The offsets that hold records: (first, next, broker time in ms) of each stretch."""
        return [
            (max(r.base, self.first), r.next, r.broker_ms)
            if r.__class__ is Batch
            else (r.offset, r.offset + 1, r.timestamp)
            for r in self.records
        ]
