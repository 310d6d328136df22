"""aiokafka's consumer, but what it hands over is bytes: each fetch of a partition as one RawFetch.

aiokafka reads batches where a fetch arrives, one object a record, and what it cannot read ends the
consumer. Here two functions of it are bound again over a copy of their module's globals in which a few
names are ours. Nothing of the package is changed: its other consumers in this process keep their reader.
The private names that this stands on are those of aiokafka 0.14.0, which pyproject.toml pins;
tests/batches/test_raw_fetch.py names them.
"""

from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher

from stream.batches.reader import RawFetch

_HEADER_BYTES = 61
_LENGTH_END = 12


def _with_names(function: Callable, **names: Any) -> Callable:
    """The same function, in whose globals these names mean something else."""
    made = FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


class _RawRecords:
    """In place of MemoryRecords: finds where the last whole batch ends, and reads nothing else."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data or b""
        self.next: int | None = None
        at = 0
        while len(self.data) - at >= _HEADER_BYTES:
            size = _LENGTH_END + int.from_bytes(self.data[at + 8 : at + 12], "big", signed=True)
            if size < _HEADER_BYTES or size > len(self.data) - at:
                break
            last_offset_delta = int.from_bytes(self.data[at + 23 : at + 27], "big", signed=True)
            self.next = int.from_bytes(self.data[at : at + 8], "big", signed=True) + last_offset_delta + 1
            at += size

    def has_next(self) -> bool:
        return bool(self.data)  # also without a whole batch: aiokafka would step over an offset

    def size_in_bytes(self) -> int:
        return len(self.data)


class _RawPartition:
    """In place of PartitionRecords: one item, the fetch."""

    def __init__(
        self,
        tp: TopicPartition,
        records: _RawRecords,
        aborted_transactions: list[tuple[int, int]] | None,
        fetch_offset: int,
        *_reader_options: Any,
    ) -> None:
        self.next_fetch_offset = fetch_offset
        self._records: _RawRecords | None = records
        self._aborted = list(aborted_transactions or ())

    def __iter__(self) -> Iterator[RawFetch]:
        return self

    def __next__(self) -> RawFetch:
        records, self._records = self._records, None
        if records is None:
            raise StopIteration
        first, self.next_fetch_offset = self.next_fetch_offset, max(records.next or 0, self.next_fetch_offset)
        return RawFetch(records.data, first, self.next_fetch_offset, -1, -1, self._aborted)


class _RawFetcher(Fetcher):
    _proc_fetch_request = _with_names(
        Fetcher._proc_fetch_request, MemoryRecords=_RawRecords, PartitionRecords=_RawPartition
    )

    async def fetched_records(
        self, partitions: Any, timeout: float = 0, max_records: int | None = None
    ) -> Any:
        found = await super().fetched_records(partitions, timeout, max_records)
        assignment = self._subscriptions.subscription.assignment
        for tp, fetches in found.items():  # a partition has one fetch at a time: its state is this one's
            state = assignment.state_value(tp)
            fetches[:] = [
                f._replace(high_watermark=state.highwater, last_stable_offset=state.lso) for f in fetches
            ]
        return found


class RawConsumer(AIOKafkaConsumer):
    """Its getmany hands over RawFetches, one a partition.

    A consumer that somebody else made becomes one by `consumer.__class__ = RawConsumer` before its start.
    """

    start = _with_names(AIOKafkaConsumer.start, Fetcher=_RawFetcher)
