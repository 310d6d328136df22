"""One source of a shard: its batches that wait, still packed, and what they may ask for. Pure."""

from bisect import bisect_right
from typing import TypeVar

import numpy as np

from schemas.block import Span
from schemas.limits import (
    BATCH_HELD_BYTES,
    CYCLE_ROWS_MAX,
    FAIR_BURST_US,
    KEEPS_UP_MS,
    SHORT_CYCLE_ROWS_MAX,
    VALUE_HELD_BYTES,
)
from schemas.report import DAY_MS, SHANGHAI_OFFSET_MS
from schemas.state import Source
from stream.batches.fetch import Fetch
from stream.batches.reader import Batch, Unreadable, values_of

_SECOND_US = 1_000_000


def continues(span: Span, source: Source) -> bool:
    """Whether a span begins where the source stands: under another id, or behind a loss, it does not."""
    return (span.topic_id, span.first) == (source.topic_id, source.next)


class Pending:
    """The batches of one source from offset `first` on.

    `due`: the offset that a following fetch must continue; `end`: up to which records are known to exist;
    `step_us`: what a row pays, 0 for who never waits; `rows_max`: its quota of rows a day, None for none.

    A batch has one row for each offset; one in all if its header already refuses it, so that a header that
    claims two billion offsets costs as much as another. No cycle takes more than CYCLE_ROWS_MAX rows, so as
    many batches are looked at, however many wait.
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
        # A broker whose clock stepped back must not reorder a source: its times never fall.
        self._floor_ms = 0
        self._times_ms: list[int] = []  # of the batches, so corrected
        self._rows: list[int] = []  # of each batch, how many are left
        self._unpacked: dict[int, list[bytes] | Unreadable] = {}  # by the batch's base

    def add(self, fetch: Fetch) -> None:
        """Takes a fetch that begins with the offset due."""
        for batch in fetch.records:
            self._floor_ms = max(self._floor_ms, batch.broker_ms)
            self.batches.append(batch)
            self._times_ms.append(self._floor_ms)
            self._rows.append(1 if batch.refused else batch.next - max(batch.base, fetch.first))
            self.nbytes += _held_bytes(batch)
        self.due = fetch.next
        self.end = max(self.end, fetch.end)

    def owes(self) -> bool:
        """Whether records are known to exist, and none is in hand."""
        return not self.batches and self.due < self.end

    def is_behind(self) -> bool:
        """Whether records are known to exist beyond those in hand."""
        return self.due < self.end

    def keeps_up(self, latest_ms: int) -> bool:
        """Whether what waits of it is less than a short cycle, and not much older than the shard's latest."""
        if self.is_behind() or latest_ms - self._floor_ms >= KEEPS_UP_MS:
            return False
        return self.rows_waiting() < SHORT_CYCLE_ROWS_MAX

    def rows_waiting(self) -> int:
        """Rows in hand; where they are more than a short cycle's, not all are counted."""
        return sum(self._rows[:SHORT_CYCLE_ROWS_MAX])  # each batch has a row at least

    def waits(self, today: int) -> bool:
        """Whether it has records that are to be decided today."""
        return bool(self.batches or self.is_behind()) and not self.used_up(today)

    def used_up(self, today: int) -> bool:
        """Whether its quota of rows is used up for `today`."""
        return self._day >= today and self._exceeds()

    def begin_day(self, today: int) -> None:
        """A new day has its own quota; what waited for it is as if it came when the day began."""
        if today > self._day:
            if self._exceeds():
                self.paid_us = max(self.paid_us, (today * DAY_MS - SHANGHAI_OFFSET_MS) * 1_000)
            self._day, self._day_rows = today, 0

    def _exceeds(self) -> bool:
        return self.rows_max is not None and self._day_rows >= self.rows_max

    def earliest_us(self) -> int:
        """No record that is not fetched yet has a lesser fair time, nor one beyond a cycle's."""
        return max(self._floor_ms * 1_000, _put_off(self._paid_us(CYCLE_ROWS_MAX)))

    def broker_ms(self, b: int) -> int:
        """The broker's time of batch `b`."""
        return self._times_ms[b]

    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The rows that wait, at most a cycle's: fair time, batch, and the row's number in the batch."""
        begins_us, broker_us, rows = self._begins_us(CYCLE_ROWS_MAX)
        before = np.cumsum(rows) - rows
        shown = np.minimum(rows, np.maximum(CYCLE_ROWS_MAX - before, 0))
        batch = np.repeat(np.arange(len(shown)), shown)
        place = np.arange(len(batch)) - before[batch]
        fair_us = np.maximum(_put_off(begins_us[batch] + place * self._step_us), broker_us[batch])
        begun = max(self.first - self.batches[0].base, 0)
        return fair_us, batch, place + np.where(batch == 0, begun, 0)

    def _begins_us(self, batches: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the first batches: when each begins, its broker's time, and its rows.

        A batch begins when the one before has paid and the broker has it.
        """
        rows = np.array(self._rows[:batches], np.int64)
        broker_us = np.array(self._times_ms[:batches], np.int64) * 1_000
        costs_us = rows * self._step_us
        before_us = np.cumsum(costs_us) - costs_us
        begins_us = before_us + np.maximum(np.maximum.accumulate(broker_us - before_us), self.paid_us)
        return begins_us, broker_us, rows

    def _paid_us(self, batches: int) -> int:
        """Up to when the source has paid once its first batches were taken."""
        begins_us, _, rows = self._begins_us(batches)
        pays = rows.size and self._step_us
        return int(begins_us[-1] + rows[-1] * self._step_us) if pays else self.paid_us

    def is_unpacked(self, b: int) -> bool:
        """Whether `values(b)` is at hand."""
        return self.batches[b].base in self._unpacked

    def unpack(self, b: int) -> int:
        """Unpacks batch `b`; how many bytes its values take."""
        values = self._unpacked[self.batches[b].base] = values_of(self.batches[b])
        return _values_bytes(values)

    def values(self, b: int) -> list[bytes] | Unreadable:
        """What stands in batch `b`, which was unpacked."""
        return self._unpacked[self.batches[b].base]

    def remove(self, following: int) -> None:
        """Everything below offset `following` was taken: pays for it, and lets go of it."""
        whole = bisect_right(self.batches, following, key=lambda batch: batch.next)
        self.paid_us = self._paid_us(whole)
        self._day_rows += sum(self._rows[:whole])
        self.nbytes -= sum(map(_held_bytes, self.batches[:whole]))
        self.first = self.batches[whole - 1].next if whole else self.first
        del self.batches[:whole], self._times_ms[:whole], self._rows[:whole]
        if not self.batches:
            self.first = self.due
        elif following > self.batches[0].base:
            taken = following - max(self.first, self.batches[0].base)
            if self._step_us:
                self.paid_us = max(self.paid_us, self._times_ms[0] * 1_000) + taken * self._step_us
            self._day_rows += taken
            self._rows[0] -= taken
            self.first = following

    def let_go(self, kept_bytes: int) -> int:
        """Keeps unpacked what is left of a batch that was begun, if it takes no more; what it takes."""
        begun = self.batches[0].base if self.batches else -1
        values = self._unpacked.get(begun, [])
        size = _values_bytes(values)
        kept = begun in self._unpacked and size <= kept_bytes
        self._unpacked = {begun: values} if kept else {}
        return size if kept else 0

    def span(self, first: int) -> Span:
        """What a cycle took that began at `first`."""
        return Span(self.topic, self.topic_id, first, self.first, self.paid_us, self._day, self._day_rows)


_Us = TypeVar("_Us", int, np.ndarray)


def _put_off(begins_us: _Us) -> _Us:
    """The fair time of what begins then, if the broker did not have it later."""
    return (begins_us - FAIR_BURST_US) // _SECOND_US * _SECOND_US


def _held_bytes(batch: Batch) -> int:
    return len(batch.payload) + BATCH_HELD_BYTES


def _values_bytes(values: list[bytes] | Unreadable) -> int:
    if isinstance(values, Unreadable):
        return 0
    return sum(map(len, values)) + VALUE_HELD_BYTES * len(values)
