"""What waits in a partition, how old it is, and how many of the delivered records a position settles."""

import pytest

from stream.batches.fetch import Fetch
from stream.batches.reader import Unreadable
from stream.telemetry.backlog import Backlog
from tests.making import METRO, fetch, packed

NOW_MS = 1_000_000


def fetched(first: int, offsets: list[int], ms: int = NOW_MS - 500) -> Fetch:
    """Batches of one record each; the later ones came a millisecond an offset later."""
    return fetch(METRO, [packed(offset, b"", ms=ms + offset) for offset in offsets], first)


def placed(position: int = 0) -> Backlog:
    backlog = Backlog()
    backlog.place(position)
    return backlog


def test_positions_settle_the_delivered_records_below_them() -> None:
    backlog = placed()
    backlog.deliver(fetched(0, [0, 1, 2]))
    backlog.deliver(fetched(3, [3, 4]))
    assert backlog.held() == backlog.lag() == 5
    assert [backlog.settle(position) for position in (1, 1, 4, 5)] == [1, 0, 3, 1]
    assert backlog.held() == backlog.lag() == backlog.lag_ms(NOW_MS) == 0


def test_offsets_that_no_record_has_are_not_counted() -> None:
    """A transaction's markers, and what it took back, take offsets as well."""
    backlog = placed()
    backlog.deliver(fetched(0, [2, 3, 7, 8]))
    assert backlog.settle(5) == 2
    assert backlog.settle(9) == 2


@pytest.mark.parametrize("refused", [None, Unreadable("none", "its header")], ids=["readable", "one row"])
def test_a_batch_counts_all_offsets_that_it_covers(refused: Unreadable | None) -> None:
    backlog = placed(3)
    whole = packed(0, *[b""] * 5, ms=NOW_MS - 50)._replace(refused=refused)
    backlog.deliver(fetch(METRO, [whole, packed(5, b"", ms=NOW_MS - 20)], 3))
    assert (backlog.held(), backlog.lag_ms(NOW_MS)) == (3, 50), "what is below the position was settled"
    assert [backlog.settle(position) for position in (4, 5)] == [1, 1]
    assert (backlog.held(), backlog.lag_ms(NOW_MS)) == (1, 20)
    assert backlog.settle(6) == 1


def test_age_is_that_of_the_oldest_record_that_waits() -> None:
    backlog = placed()
    backlog.deliver(fetched(0, [0, 1, 2], ms=NOW_MS - 100))
    assert backlog.lag_ms(NOW_MS) == 100
    backlog.settle(2)
    assert backlog.lag_ms(NOW_MS) == 98
    assert backlog.lag_ms(NOW_MS - 200) == 0, "a broker's clock that is ahead makes no negative age"


def test_records_that_are_delivered_again_count_once() -> None:
    backlog = placed()
    backlog.deliver(fetched(0, [0, 1, 2]))
    backlog.settle(1)
    backlog.place(1)  # after a recovery
    assert backlog.held() == 0
    backlog.deliver(fetched(1, [1, 2]))
    assert backlog.settle(3) == 2


def test_what_was_not_delivered_waits_since_it_was_noticed() -> None:
    backlog = placed(10)
    backlog.learn_end(10, NOW_MS)
    assert backlog.lag() == backlog.lag_ms(NOW_MS + 1) == 0
    backlog.learn_end(15, NOW_MS)
    backlog.learn_end(16, NOW_MS + 100)
    assert (backlog.lag(), backlog.lag_ms(NOW_MS + 200)) == (6, 200)
    backlog.deliver(fetched(10, [10], ms=NOW_MS))
    assert backlog.lag_ms(NOW_MS + 200) == 190
    backlog.settle(11)
    assert backlog.lag() == 5
    assert backlog.lag_ms(NOW_MS + 300) == 0, "a fetch is under way; the next answer begins to count"


def test_markers_at_the_end_are_no_lag() -> None:
    backlog = placed()
    backlog.deliver(fetched(0, [0, 1]))
    backlog.settle(2)
    backlog.learn_end(3, NOW_MS)
    assert backlog.lag() == 1
    backlog.learn_fetched(2)
    assert backlog.lag() == 1, "the transport has not passed it: it may be a record"
    backlog.learn_fetched(3)
    assert backlog.lag() == 0
    backlog.deliver(fetched(3, [3]))
    assert backlog.settle(4) == 1


def test_an_unknown_position_tells_nothing() -> None:
    backlog = Backlog()
    backlog.learn_end(100, NOW_MS)
    assert backlog.lag() == backlog.lag_ms(NOW_MS + 5) == 0
