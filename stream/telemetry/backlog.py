"""What waits in one partition: on the broker, or delivered to this worker and not yet settled. Pure.

A record is settled when its effect is stored: an intake record when its block is applied, a ledger record
when it is archived. Times are the broker's, in ms since 1970, never a shard's, which may be simulated.
"""

from collections import deque

from stream.batches.fetch import Fetch


class _Delivered:
    """A stretch of offsets without a gap, of one time; below `first` it is settled."""

    def __init__(self, first: int, following: int, broker_ms: int) -> None:
        self.first, self.next, self.broker_ms = first, following, broker_ms


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

    def deliver(self, fetch: Fetch) -> None:
        """A fetch has arrived. Offsets are missing behind transactions only."""
        self._delivered += [_Delivered(*extent) for extent in fetch.extents]
        self._end = max(self._end, fetch.next)
        self._behind_since_ms = None

    def settle(self, position: int) -> int:
        """Everything below `position` is settled; how many of the delivered records that were."""
        settled = 0
        while self._delivered:
            stretch = self._delivered[0]
            reached = min(max(position, stretch.first), stretch.next)
            settled += reached - stretch.first
            stretch.first = reached
            if reached < stretch.next:
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
        return sum(stretch.next - stretch.first for stretch in self._delivered)

    def lag(self) -> int:
        """Offsets between what is settled and the partition's end; 0 while the position is not known."""
        return 0 if self._position is None else max(0, self._end - self._position)

    def lag_ms(self, now_ms: int) -> int:
        """Age of the oldest record that waits; of one not delivered, how long it is known to wait."""
        if self._delivered:
            return max(0, now_ms - self._delivered[0].broker_ms)
        return max(0, now_ms - self._behind_since_ms) if self._behind_since_ms is not None else 0
