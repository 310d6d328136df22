"""The day with which a report's id begins: within the calendar, and not beyond it."""

import datetime as dt

import pytest

from schemas.codec import compact_day
from schemas.report import day_of_date

FIRST, LAST = -719_162, 2_932_896  # 1 January 1 and 31 December 9999, which other zones have as other years


@pytest.mark.parametrize("day", [FIRST - 1, FIRST, LAST, LAST + 1])
def test_at_the_ends_of_the_calendar_there_is_no_text(day: int) -> None:
    assert compact_day(day) == ""


def test_next_to_them_there_is() -> None:
    assert compact_day(FIRST + 1).endswith("10102")
    assert compact_day(LAST - 1) == "99991230"
    assert compact_day(0) == "19700101"
    assert compact_day(20_000) == compact_day(20_000) == "20241004"


def test_the_calendar_is_pythons() -> None:
    assert [day_of_date(end) for end in (dt.date.min, dt.date.max)] == [FIRST, LAST]
