"""One source that waits: when it keeps up, what it owes, when its quota is used up; from both sides."""

import pytest

from schemas.limits import KEEPS_UP_MS, SHORT_CYCLE_ROWS_MAX, VALUE_HELD_BYTES
from schemas.report import DAY_MS, SHANGHAI_OFFSET_MS
from schemas.state import Source
from stream.core.pending import Pending
from tests.making import METRO, NOON_MS, TODAY, TOPIC_IDS, fetch, packed, source

STEP_US = 1_000_000 // 300


def pending(*rows: int, end: int = 0, ms: int = NOON_MS) -> Pending:
    """A source with batches of so many rows in hand."""
    one, offset = Pending(METRO, source(0), STEP_US, end), 0
    for count in rows:
        one.add(fetch(METRO, [packed(offset, *[b"x"] * count, ms=ms)]))
        offset += count
    return one


def used(rows: int, day: int = TODAY, rows_max: int | None = 3) -> Pending:
    one = Pending(METRO, Source(TOPIC_IDS[METRO], 0, 5, day, rows), STEP_US, 0)
    one.rows_max = rows_max
    return one


@pytest.mark.parametrize(("age_ms", "keeps_up"), [(0, True), (KEEPS_UP_MS - 1, True), (KEEPS_UP_MS, False)])
def test_a_source_keeps_up_as_long_as_it_was_heard_of_lately(age_ms: int, keeps_up: bool) -> None:
    assert pending(1).keeps_up(NOON_MS + age_ms) == keeps_up


@pytest.mark.parametrize(
    ("rows", "keeps_up"),
    [
        ((SHORT_CYCLE_ROWS_MAX - 1,), True),
        ((SHORT_CYCLE_ROWS_MAX,), False),
        ((SHORT_CYCLE_ROWS_MAX - 2, 1), True),
        ((1, SHORT_CYCLE_ROWS_MAX - 1), False),
        ((SHORT_CYCLE_ROWS_MAX, 1), False),
    ],
)
def test_a_source_keeps_up_while_less_than_a_short_cycle_of_it_waits(rows: tuple, keeps_up: bool) -> None:
    assert pending(*rows).keeps_up(NOON_MS) == keeps_up


def test_a_source_that_is_not_fetched_to_its_end_keeps_not_up() -> None:
    assert pending(2, end=2).keeps_up(NOON_MS)
    assert not pending(2, end=3).keeps_up(NOON_MS)


def test_a_source_owes_what_is_known_to_exist_if_nothing_of_it_is_in_hand() -> None:
    assert [pending(end=end).owes() for end in (0, 1)] == [False, True]
    assert [pending(2, end=end).owes() for end in (2, 3)] == [False, False]
    assert [pending(2, end=end).is_behind() for end in (2, 3)] == [False, True]
    assert [pending(*rows, end=end).waits(TODAY) for rows, end in (((), 0), ((), 1), ((2,), 2))] == [
        False, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "used_up"),
    [
        (used(2), False),
        (used(3), True),
        (used(4), True),
        (used(4, rows_max=None), False),
        (used(3, day=TODAY - 1), False),
        (used(3, day=TODAY + 1), True),  # a clock that stepped back
    ],
)
def test_a_quota_is_used_up_with_its_last_row_for_its_day(one: Pending, used_up: bool) -> None:
    one.end = 1
    assert one.used_up(TODAY) == used_up
    assert one.waits(TODAY) != used_up


def test_what_waited_for_a_new_day_is_as_if_it_came_when_the_day_began() -> None:
    midnight_us = (TODAY * DAY_MS - SHANGHAI_OFFSET_MS) * 1_000
    for one, paid_us, span in (
        (used(3, day=TODAY - 1), midnight_us, (TODAY, 0)),
        (used(2, day=TODAY - 1), 5, (TODAY, 0)),
        (used(3), 5, (TODAY, 3)),
        (used(3, day=TODAY + 1), 5, (TODAY + 1, 3)),
    ):
        one.begin_day(TODAY)
        told = one.span(0)
        assert (one.paid_us, (told.day, told.day_rows)) == (paid_us, span)


def test_nobody_pays_less_for_a_new_day() -> None:
    one = used(3, day=TODAY - 1)
    one.paid_us = paid_us = (TODAY + 1) * DAY_MS * 1_000
    one.begin_day(TODAY)
    assert one.paid_us == paid_us


@pytest.mark.parametrize(("more_bytes", "kept"), [(-1, False), (0, True), (1, True)])
def test_what_is_left_of_a_batch_stays_unpacked_up_to_the_last_byte(more_bytes: int, kept: bool) -> None:
    one = pending(3)
    size = one.unpack(0)
    assert size == 3 * (1 + VALUE_HELD_BYTES)
    one.remove(1)
    assert one.let_go(size + more_bytes) == (size if kept else 0)
    assert one.is_unpacked(0) == kept


def test_nothing_that_was_not_begun_stays_unpacked() -> None:
    one = pending(2, 2)
    sizes = [one.unpack(0), one.unpack(1)]
    one.remove(2)
    assert one.let_go(1 << 20) == sizes[1], "the next one, which was unpacked, is begun next"
    assert one.is_unpacked(0)
    one.remove(4)
    assert one.let_go(1 << 20) == 0


@pytest.mark.parametrize("following", range(6))
def test_what_was_taken_is_paid_counted_and_let_go_of(following: int) -> None:
    one = pending(2, 3)
    whole = sum(following >= end for end in (2, 5))
    held_bytes = one.nbytes
    one.remove(following)
    assert len(one.batches) == 2 - whole
    assert one.first == following
    told = one.span(0)
    assert (told.next, told.day_rows) == (following, following)
    assert told.paid_us == (NOON_MS * 1_000 + following * STEP_US if following else 0)
    assert (one.nbytes == held_bytes) == (whole == 0)
    if whole == 2:
        assert not one.waits(TODAY)
        return
    times_us, batch, place = one.rows()
    assert len(times_us) == 5 - following
    places = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)][following:]
    assert list(zip((batch + whole).tolist(), place.tolist(), strict=True)) == places
