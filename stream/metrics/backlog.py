"""What waits in one partition: on the broker, or delivered to this worker and not yet settled. Pure.

A record is settled when its effect is stored: an intake record when its block is applied, a ledger record
when it is archived. Times are the broker's, in ms since 1970, never a shard's, which may be simulated.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import Any

from stream.transport import Batch


class _Delivered:
    """One batch: `settled` records of it are done."""

    def __init__(self, records: list[Any]) -> None:
        first, last = records[0].offset, records[-1].offset
        whole = last - first + 1 == len(records)
        # Offsets are missing behind transactions only: nothing is kept for each record but its time.
        self.offsets: Sequence[int] = range(first, last + 1) if whole else [r.offset for r in records]
        self.broker_ms = [r.timestamp for r in records]
        self.settled = 0


class Backlog:
    """One partition in the hands of this worker."""

    def __init__(self, position: int | None = None) -> None:
        self._delivered: deque[_Delivered] = deque()
        self._position = position  # everything below is settled; None: not known yet
        self._end = 0  # of the partition, as the broker or a delivery told it last
        self._behind_since_ms: int | None = None  # since when something waits of which nothing was delivered

    def place(self, position: int) -> None:
        """The transport delivers from here on; what it delivered before and is not settled comes again."""
        self._delivered.clear()
        self._position = position

    def deliver(self, batch: Batch) -> None:
        """A batch has arrived."""
        self._delivered.append(_Delivered(batch.records))
        self._end = max(self._end, batch.next)
        self._behind_since_ms = None

    def settle(self, position: int) -> int:
        """Everything below `position` is settled; how many of the delivered records that were."""
        settled = 0
        while self._delivered:
            batch = self._delivered[0]
            reached = bisect_left(batch.offsets, position)
            settled += reached - batch.settled
            batch.settled = reached
            if reached < len(batch.offsets):
                break
            self._delivered.popleft()
        self._position = position
        return settled

    def learn_end(self, end: int, now_ms: int) -> None:
        """The broker says where the partition ends."""
        self._end = end
        if not self.is_undelivered():
            self._behind_since_ms = None
        elif self._behind_since_ms is None:
            self._behind_since_ms = now_ms

    def learn_fetched(self, fetched: int) -> None:
        """The transport stands at `fetched`. If that is the end and nothing came of it, what lies between are
        the markers of transactions, for which nobody waits."""
        if self.is_undelivered() and fetched >= self._end:
            self._position, self._behind_since_ms = self._end, None

    def is_undelivered(self) -> bool:
        """Whether something waits and nothing of it was delivered."""
        return self.lag() > 0 and not self._delivered

    def held(self) -> int:
        """Records delivered and not settled."""
        return sum(len(batch.offsets) - batch.settled for batch in self._delivered)

    def lag(self) -> int:
        """Offsets between what is settled and the partition's end; 0 while the position is not known."""
        return 0 if self._position is None else max(0, self._end - self._position)

    def lag_ms(self, now_ms: int) -> int:
        """Age of the oldest record that waits; of one not delivered, how long it is known to wait."""
        if self._delivered:
            batch = self._delivered[0]
            return max(0, now_ms - batch.broker_ms[batch.settled])
        return max(0, now_ms - self._behind_since_ms) if self._behind_since_ms is not None else 0
