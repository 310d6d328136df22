"""One source of a shard: its batches that wait, still packed, and what they may ask for. Pure."""

from bisect import bisect_right

import numpy as np

from schemas.block import Span
from schemas.limits import CYCLE_ROWS_MAX, FAIR_BURST_US, UNPACKED_KEPT_BYTES_MAX
from schemas.state import Source
from stream.batches.reader import Batch, Unreadable, values_of
from stream.transport import Fetch


class Pending:
    """The batches of one source from offset `first` on.

    `due`: the offset that a following fetch must continue; `end`: up to which records are known to exist;
    `step_us`: what a record pays; `rows_max`: the quota of rows a day, None for none.
    """

    def __init__(self, topic: str, source: Source, step_us: int, end: int) -> None:
        self.topic, self.topic_id = topic, source.topic_id
        self.first = self.due = source.next
        self.end = end
        self.paid_us = source.paid_us
        self.batches: list[Batch] = []
        self.nbytes = 0
        self.rows_max: int | None = None
        self._step_us = step_us
        self._day, self._day_rows = source.day, source.day_rows
        self._floor_ms = (
            0  # a broker whose clock stepped back must not reorder a source: its times never fall
        )
        self._times_ms: list[int] = []  # of the batches, so corrected
        self._unpacked: dict[int, list[bytes] | Unreadable] = {}  # by the batch's base

    def add(self, fetch: Fetch) -> None:
        """Takes a fetch that begins with the offset due."""
        for batch in fetch.records:
            self._floor_ms = max(self._floor_ms, batch.broker_ms)
            self.batches.append(batch)
            self._times_ms.append(self._floor_ms)
            self.nbytes += len(batch.payload)
        self.due = fetch.next
        self.end = max(self.end, fetch.end)

    def owes(self) -> bool:
        """Whether records are known to exist, and none is in hand."""
        return not self.batches and self.due < self.end

    def is_behind(self) -> bool:
        """Whether records are known to exist beyond those in hand."""
        return self.due < self.end

    def used_up(self, today: int) -> bool:
        """Whether its quota of rows is used up for `today`."""
        return self.rows_max is not None and self._day >= today and self._day_rows >= self.rows_max

    def earliest_us(self) -> int:
        """The least fair time that the next record, not fetched yet, can have."""
        return max(self._floor_ms * 1_000, self._paid_us(len(self.batches)) - FAIR_BURST_US)

    def broker_ms(self, b: int) -> int:
        """The broker's time of batch `b`."""
        return self._times_ms[b]

    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The rows that wait, at most a cycle's: fair time, batch, and the row's number in the batch."""
        offsets = self._offsets(self.batches)
        refused = np.fromiter((batch.refused is not None for batch in self.batches), bool, len(offsets))
        counts = np.where(refused, 1, offsets)
        counts = np.minimum(counts, np.maximum(CYCLE_ROWS_MAX - (np.cumsum(counts) - counts), 0))
        batch = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(len(batch)) - np.repeat(np.cumsum(counts) - counts, counts)
        broker_us = np.array(self._times_ms, np.int64) * 1_000
        begin_us = self._begins_us(offsets, broker_us)[batch] + place * self._step_us
        fair_us = np.maximum(begin_us - FAIR_BURST_US, broker_us[batch])
        begun = max(self.first - self.batches[0].base, 0)
        return fair_us, batch, place + np.where(batch == 0, begun, 0)

    def _begins_us(self, offsets: np.ndarray, broker_us: np.ndarray) -> np.ndarray:
        """When each batch begins: the one before has paid by then, and the broker has it."""
        costs_us = offsets * self._step_us
        paid_us = np.cumsum(costs_us) - costs_us
        return paid_us + np.maximum(np.maximum.accumulate(broker_us - paid_us), self.paid_us)

    def _paid_us(self, batches: int) -> int:
        """Up to when the source has paid once its first `batches` batches were taken."""
        if not batches:
            return self.paid_us
        offsets = self._offsets(self.batches[:batches])
        broker_us = np.array(self._times_ms[:batches], np.int64) * 1_000
        return int(self._begins_us(offsets, broker_us)[-1] + offsets[-1] * self._step_us)

    def _offsets(self, batches: list[Batch]) -> np.ndarray:
        """How many offsets of each of the first batches wait."""
        offsets = np.fromiter((batch.next - batch.base for batch in batches), np.int64, len(batches))
        if batches:
            offsets[0] -= max(self.first - batches[0].base, 0)
        return offsets

    def is_unpacked(self, b: int) -> bool:
        """Whether `values(b)` is at hand."""
        return self.batches[b].base in self._unpacked

    def unpack(self, b: int) -> int:
        """Unpacks batch `b`; how many bytes its values take."""
        values = self._unpacked[self.batches[b].base] = values_of(self.batches[b])
        return 0 if isinstance(values, Unreadable) else sum(map(len, values))

    def values(self, b: int) -> list[bytes] | Unreadable:
        """What stands in batch `b`, which was unpacked."""
        return self._unpacked[self.batches[b].base]

    def remove(self, following: int, today: int) -> None:
        """Everything below offset `following` was taken: pays for it, and lets go of it."""
        if today > self._day:
            self._day, self._day_rows = today, 0
        whole = bisect_right(self.batches, following, key=lambda batch: batch.next)
        self._day_rows += int(self._offsets(self.batches[:whole]).sum())
        self.paid_us = self._paid_us(whole)
        self.nbytes -= sum(len(batch.payload) for batch in self.batches[:whole])
        self.first = self.batches[whole - 1].next if whole else self.first
        del self.batches[:whole], self._times_ms[:whole]
        if not self.batches:
            self.first = self.due
        elif following > self.batches[0].base:
            taken = following - max(self.first, self.batches[0].base)
            self.paid_us = max(self.paid_us, self._times_ms[0] * 1_000) + taken * self._step_us
            self._day_rows += taken
            self.first = following
        self._let_go()

    def span(self, first: int) -> Span:
        """What a cycle took that began at `first`."""
        return Span(self.topic, self.topic_id, first, self.first, self.paid_us, self._day, self._day_rows)

    def _let_go(self) -> None:
        """Keeps unpacked what is left of a batch that was begun, if it is small."""
        begun = self.batches[0].base if self.batches else -1
        values = self._unpacked.get(begun, [])
        small = isinstance(values, Unreadable) or sum(map(len, values)) <= UNPACKED_KEPT_BYTES_MAX
        self._unpacked = {begun: values} if begun in self._unpacked and small else {}
