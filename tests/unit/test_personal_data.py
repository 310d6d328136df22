"""Personal data: found in every text that is kept, however it is written, and seldom where there is none."""

import datetime as dt
import random
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import Refusal, read_report
from schemas.export import ROOT
from schemas.personal_data import (
    holds_personal_data,
    is_id_number,
    may_hold_personal_data,
    values_in,
)
from schemas.report import Report
from schemas.reports import read_reports
from schemas.verdicts import Verdict
from tests.making import NOON, record
from tests.personal_numbers import AS_NAMES, ID_NUMBER, IN_TEXTS, LOOKS_ALIKE, NOT_FOUND, PHONE

GOOD = record()


@pytest.mark.parametrize("name", ["source_txn", "scene_id", "evidence_tier", "methodology"])
@pytest.mark.parametrize("text", AS_NAMES)
def test_it_is_found_in_every_name_that_is_kept(name: str, text: str) -> None:
    expected = Refusal(Verdict.PERSONAL_DATA, f"{name}: holds an ID or phone number")
    value = record(**{name: text})
    assert read_report(value) == expected
    assert read_reports([GOOD, value, GOOD]).refused[1] == expected


@pytest.mark.parametrize("text", [text for text in AS_NAMES if len(text) <= 55])
def test_it_is_found_in_an_id_behind_its_date(text: str) -> None:
    value = record(report_id=f"20240907-{text}")
    expected = Refusal(Verdict.PERSONAL_DATA, "report_id: holds an ID or phone number")
    if text.startswith("20240907-"):  # two dates
        return
    assert read_report(value) == expected
    assert read_reports([GOOD, value, GOOD]).refused[1] == expected


@pytest.mark.parametrize("text", AS_NAMES + IN_TEXTS)
@pytest.mark.parametrize(
    "wrap", [lambda t: t, lambda t: {"a": [t, 1]}, lambda t: {t: 1}], ids=["text", "list", "key"]
)
def test_it_is_found_in_evidence(text: str, wrap: object) -> None:
    expected = Refusal(Verdict.PERSONAL_DATA, "evidence: holds an ID or phone number")
    assert read_report(record(evidence=wrap(text))) == expected
    escaped = "".join(f"\\u{ord(c):04x}" for c in text)
    raw = record(evidence="here").replace(b'"here"', f'["{escaped}"]'.encode())
    assert read_report(raw) == expected


@pytest.mark.parametrize("number", [int(PHONE), float(PHONE), int(f"86{PHONE}")])
def test_it_is_found_as_a_number(number: float) -> None:
    assert read_report(record(evidence={"phone": number})).verdict == Verdict.PERSONAL_DATA


def test_a_forbidden_kind_does_not_hide_it() -> None:
    for note in (ID_NUMBER, "138 0013 8000", int(PHONE)):
        assert read_report(record(kind="transfer", note=note)).verdict == Verdict.PERSONAL_DATA
    assert read_report(record(kind="transfer", note="x")).verdict == Verdict.FORBIDDEN_OPERATION


@pytest.mark.parametrize("text", LOOKS_ALIKE + NOT_FOUND)
def test_what_only_looks_alike_and_what_the_page_lists_passes(text: str) -> None:
    assert not holds_personal_data([text])
    assert isinstance(read_report(record(evidence=text)), Report)


def test_the_page_says_what_is_found_and_what_is_not() -> None:
    page = (ROOT / "docs/apps.md").read_text("utf-8")
    section = page[page.index("### No personal data") : page.index("**Numbers of your own.**")]
    found = [
        span
        for part in re.findall(r"\bFound: ([^;]*?\.)\n", section)
        for span in re.findall("`([^`]+)`", part)
    ]
    [rest] = re.findall(r"Not found: ([^;]*);", section)
    not_found = re.findall("`([^`]+)`", rest)
    assert len(found) >= 12
    assert all(holds_personal_data([span]) for span in found)
    assert [text for text in NOT_FOUND if text.isascii()] == not_found


def test_a_random_number_seldom_passes_for_personal_data() -> None:
    """The shares that docs/apps.md states: 7 of 100 numbers of 11 digits; 1 of 50,000 of 18."""
    chance = random.Random(9)
    phones = sum(holds_personal_data([str(chance.randrange(10**10, 10**11))]) for _ in range(20_000))
    assert 0.07 < phones / 20_000 < 0.085
    ids = sum(is_id_number(str(chance.randrange(10**17, 10**18))) for _ in range(300_000))
    assert ids <= 12
    shapes = ("{:04}-{:08}", "{:012}", "{:020}", "{:028}", "{:06}-20241001-{:04}", "{:08}-{:08}-{:04}")
    for shape in shapes:
        texts = [shape.format(*(chance.randrange(10**4) for _ in range(3))) for _ in range(5_000)]
        assert sum(holds_personal_data([text]) for text in texts) <= 2, shape


@given(st.dates(dt.date(1900, 1, 1), dt.date(2021, 12, 31)), st.integers(0, 999))
def test_exactly_one_check_character_makes_an_id_number(born: dt.date, serial: int) -> None:
    stem = f"440305{born:%Y%m%d}{serial:03}"
    assert sum(is_id_number(stem + check) for check in "0123456789X") == 1
    assert is_id_number(ID_NUMBER.lower())


@pytest.mark.parametrize(("born", "somebody"), [("19960229", True), ("19950229", False), ("20000229", True)])
def test_nobody_was_born_on_a_day_that_was_none(born: str, somebody: bool) -> None:
    assert any(is_id_number(f"440305{born}123{check}") for check in "0123456789X") == somebody


def test_any_blank_but_a_newline_may_stand_between_digits() -> None:
    """Such as U+2007, as wide as a digit, with which numbers are set."""
    blanks = [c for c in map(chr, range(sys.maxunicode + 1)) if c.isspace()]
    assert len(blanks) > 20
    for blank in blanks:
        phone, number = blank.join(("138", "0013", "8000")), blank.join((ID_NUMBER[:6], ID_NUMBER[6:]))
        found = [holds_personal_data([text]) for text in (phone, number, PHONE + blank)]
        assert found == ([False, False, True] if blank == "\n" else [True] * 3), repr(blank)


@pytest.mark.parametrize(
    ("born", "somebody"), [("18991231", False), ("19000101", True), ("20211231", True), ("20220101", False)]
)
def test_who_reports_was_born_before_the_regulation(born: str, somebody: bool) -> None:
    """So a number of division code, behaviour's day and serial is nobody's."""
    assert any(is_id_number(f"440305{born}123{check}") for check in "0123456789X") == somebody
    assert born >= "2022" or NOON.year > 2022


gaps = st.sampled_from(["", "", "-", ".", "_", ":", "--"])
phones = st.tuples(
    st.sampled_from(["", "20240907-", "tel:"]), st.sampled_from(["", "86", "0086"]), gaps, st.just("138"),
    gaps, st.just("0013"), gaps, st.sampled_from(["8000", "8000.0", "8000-1"]),
)  # fmt: skip
ids = st.lists(gaps, min_size=18, max_size=18).map(
    lambda between: [part for pair in zip(ID_NUMBER, between, strict=True) for part in pair]
)
pieces = st.lists(
    st.sampled_from([PHONE, ID_NUMBER, "138", "0013", "8000", "-", "x", "20240907"]), max_size=9
)


@settings(max_examples=1_500, deadline=None)
@given(st.lists((phones | ids | pieces).map("".join), max_size=4))
def test_the_look_at_many_names_misses_nothing(names: list[str]) -> None:
    if any(holds_personal_data([name]) for name in names):
        assert may_hold_personal_data("\n".join(names))


@settings(deadline=None)
@given(st.binary(max_size=80) | st.text(max_size=40).map(str.encode))
def test_the_values_of_any_bytes_can_be_searched(value: bytes) -> None:
    holds_personal_data([values_in(value)])
    holds_personal_data([values_in(b'{"a":"' + value)])
