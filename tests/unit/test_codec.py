"""Bytes to reports: total, strict, the same alone and in company, and silent about what the app wrote."""

import datetime as dt
import json
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from schemas import reports
from schemas.codec import Refusal, read_report
from schemas.limits import EVIDENCE_BYTES_MAX, RECORD_BYTES_MAX
from schemas.refusal import NESTED_MAX
from schemas.report import AMOUNT_MAX, Report, to_ms
from schemas.reports import read_reports
from schemas.verdicts import Verdict
from tests.making import NOON, fields, record, uid

GOOD = record()
ID_NUMBER = "44030519900101123X"


OPTIONS = {
    "region": "440305",
    "ended_at": NOON.isoformat(),
    "scene_id": "metro-gate",
    "evidence_tier": "gate",
    "subject_type": "person",
    "other_mechanism": False,
    "claimed_reduction_g": 5,
    "evidence": {"a": '"', "b": ["c"]},
}


def with_evidence(raw: bytes) -> bytes:
    return record(evidence=0)[:-2] + raw + b"}"


HOSTILE = [
    b"", b"{}", b"null", b"[]", b"}{", b'{"a":[{}', b'{}]}', b'{"a":"}', b'{"}', b'{"a":1}\n{"a":2}',
    GOOD + b"\n", b" " + GOOD, b"\xef\xbb\xbf" + GOOD, GOOD + b"\0", b"\0" + GOOD, GOOD[:-1], GOOD + GOOD,
    GOOD[:-1] + b"\n}", GOOD.replace(b'"a"', b'"a\n"'), GOOD + b"\n" + GOOD, b"{" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b'{"x":' + b"[" * 8_000 + b"]" * 8_000 + b"}",
    b'{"x":NaN}', b'{"x":1e400}', b'{"version":' + b"9" * 5_000 + b"}", GOOD.replace(b"1000", b"1e3"),
    GOOD.replace(b"1000", b"1000.0"), GOOD.replace(b"1000", b"NaN"),
    GOOD.replace(b"1000", b"-1"),
    record(occurred_at="2024-09-07T23:59:59.9999999+08:00"), record(ended_at="2024-09-07T11:59:59.999+08:00"),
    record(source_txn="20240907-13800138000"), record(source_txn="44030519900101-123X"),
    with_evidence(b'"138 0013 8000"'), with_evidence(b"13800138000"),
    GOOD.replace(b"1000", b"9" * 5_000), GOOD.replace(b"1000", b"1e400"),
    GOOD.replace(b'"report"', b'"UNSET"'),
    GOOD[:-1] + b',"uid":"x"}', GOOD[:-1] + b',"version":1}', GOOD[:-1] + b',"region":"UNSET"}',
    record(source_txn="UNSET"), record(region="\u0661" * 6), record(uid="\uff10" * 32),
    record(uid=uid().upper()),
    record(source_txn="a b"), record(source_txn=""), record(report_id="20240907-x\n"),
    record(source_txn="x\n"),
    # Two lines that both look right, in one record.
    record(report_id=f"20240907-x M  \n{uid()} 20240907-y"),
    record(source_txn=f"a \n{uid()} 20240907-y M b"), record(source_txn=f"a \n{uid()} 20240907-y\nM\nb"),
    record(at=NOON.replace(year=1)), record(occurred_at="9999-12-31T23:59:59-23:59"),
    record(occurred_at="2024-09-07T12:00:00"), record(occurred_at=1725681600),
    with_evidence(b'"\xff\xfe"'), with_evidence(b'"\\ud800"'), with_evidence(b'"\xed\xa0\x80"'),
    with_evidence(b"[" * 300 + b"]" * 300), with_evidence(b"[" * 5_000 + b"]" * 5_000),
    with_evidence(b"1e400"), with_evidence(b"9" * 1_500), with_evidence(b'"' + b"x" * 2_100 + b'"'),
    b"\xff" * 20, "{\"kind\":\"\u00e9".encode("latin-1"), b'{"kind":"\xff"}', b'{"\xff":1}',
    b"{" + b" " * RECORD_BYTES_MAX + b"}",
]  # fmt: skip

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_odd_fields = st.dictionaries(st.sampled_from(sorted(fields())), _json, max_size=2)
_extra = st.fixed_dictionaries(
    {},
    optional={
        "evidence": _json,
        "region": st.sampled_from(["440305", "UNSET", "44"]),
        "source_txn": st.sampled_from(["t1", "13800138000", ID_NUMBER, "a b", None]),
        "subject_type": st.sampled_from(["person", "household", "robot"]),
        "other_mechanism": st.booleans(),
        "ended_at": st.sampled_from([NOON, NOON.replace(hour=11)]).map(dt.datetime.isoformat),
    },
)
values = (
    st.integers(0, 9).map(lambda n: record(f"n{n}"))
    | st.sampled_from(HOSTILE)
    | st.binary(max_size=60)
    | _json.map(lambda v: json.dumps(v).encode())
    | _odd_fields.map(lambda odd: record() if None in odd.values() else record(**odd))
    | _extra.map(lambda extra: record(**extra))
    | st.tuples(st.just(GOOD), st.integers(0, len(GOOD)), st.binary(max_size=3)).map(
        lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] + 1 :]
    )
)


def plain(items: list) -> list:
    return [re.sub("Raw object at 0x[0-9a-f]+", "Raw", str(item)) for item in items]  # Raw has no equality


def check(chunk: list[bytes]) -> None:
    """Many at a time give what one by one gives."""
    found = read_reports(chunk)
    alone = [read_report(value) for value in chunk]
    assert found.refused == {i: item for i, item in enumerate(alone) if isinstance(item, Refusal)}
    assert plain(found.rare.values()) == plain(alone[i] for i in found.rare)
    for i, item in enumerate(alone):
        row = [column[i] for column in found[2:]]
        if isinstance(item, Refusal):
            assert row == ["", "", "", 0, "", 0, "", ""]
            continue
        ((unit, amount),) = item.activity.items()
        often = ["" if text is UNSET else text for text in (item.source_txn, item.region)]
        ms = to_ms(item.occurred_at)
        assert row == [item.uid, item.report_id, item.methodology, ms, unit, amount, *often]
        carries_rare = any(getattr(item, name) is not UNSET for name in RARE)
        assert (i in found.rare) == carries_rare


RARE = set(Report.__struct_fields__[7:]) - {"source_txn", "region"}


@settings(max_examples=400, deadline=None)
@given(st.lists(values, max_size=70))
def test_many_at_a_time_are_read_exactly_as_one_by_one(chunk: list[bytes]) -> None:
    check(chunk)


@pytest.mark.parametrize("company", [[], [GOOD] * 3])
def test_no_hostile_value_changes_what_its_neighbours_are(company: list[bytes]) -> None:
    for first in HOSTILE:
        for second in HOSTILE:
            check([*company, first, second, *company])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_never_raise(value: bytes) -> None:
    read_reports([value, b"{" + value + b"}"])


def test_a_verdict_does_not_depend_on_how_deep_the_caller_stands() -> None:
    def deeper(levels: int) -> list:
        return deeper(levels - 1) if levels else plain(map(read_report, HOSTILE))

    room = sys.getrecursionlimit() // 2
    assert deeper(room) == deeper(1)
    assert read_report(with_evidence(b"[" * 250 + b"]" * 250)).__class__ is Report
    assert read_report(with_evidence(b"[" * NESTED_MAX + b"]" * NESTED_MAX)).verdict == Verdict.MALFORMED


def test_limits_are_exact() -> None:
    padding = b" " * (RECORD_BYTES_MAX - len(GOOD))
    assert isinstance(read_report(GOOD[:-1] + padding + b"}"), Report)
    assert read_report(GOOD[:-1] + padding + b" }").verdict == Verdict.TOO_LARGE
    check([GOOD[:-1] + padding + b"}", GOOD[:-1] + padding + b" }"])
    fits = EVIDENCE_BYTES_MAX - 2
    assert isinstance(read_report(record(evidence="e" * fits)), Report)
    assert read_report(record(evidence="e" * (fits + 1))).detail == "evidence: at most 2048 bytes"


def at_with(fraction: str) -> str:
    """Shanghai's last second of the day, with a fraction."""
    return f"2024-09-07T23:59:59{fraction}+08:00"


@settings(max_examples=600, deadline=None)
@given(
    fraction=st.text("0123456789", min_size=1, max_size=12) | st.text("59", min_size=4, max_size=12),
    escaped=st.booleans(),
    ended=st.booleans(),
)
def test_digits_beyond_milliseconds_are_cut_off_never_rounded(
    fraction: str, escaped: bool, ended: bool
) -> None:
    last_second_ms = to_ms(NOON.replace(hour=23, minute=59, second=59))
    at = at_with(f".{fraction}")
    value = record(occurred_at=at, **({"ended_at": at} if ended else {}))
    if escaped:
        value = value.replace(b".", b"\\u002e")
    check([value, GOOD])
    ms, report = read_reports([value, GOOD]).occurred_ms[0], read_report(value)
    assert ms == last_second_ms + int(fraction[:3].ljust(3, "0"))
    assert not ended or to_ms(report.ended_at) == ms


@pytest.mark.parametrize("fraction", [".999999999", ".9999999", ".999999", ".999", ""])
def test_the_last_instant_of_a_day_is_of_that_day(fraction: str) -> None:
    """Java's LocalTime.MAX and .NET's: 84 of 84 day totals were refused when these were rounded."""
    value = record(occurred_at=at_with(fraction))
    assert isinstance(read_report(value), Report)
    check([GOOD, value])
    next_day = record(report_id="20240908-a", occurred_at=at_with(fraction))
    assert "report_id: must start with" in read_reports([GOOD, next_day]).refused[1].detail


def test_names_may_repeat_in_evidence_and_in_texts() -> None:
    """Evidence is opaque: only the hash of its bytes is kept, and nobody reads an amount from it."""
    value = with_evidence(b'{"a":1,"a":{"b":[{"c":1},{"c":1}]}}')
    assert isinstance(read_report(value), Report)
    assert read_report(value.replace(b'"version": 1', b'"version": 2')).verdict is Verdict.UNSUPPORTED_VERSION
    assert read_report(value.replace(b'"uid": "', b'"uid": "zq')).detail.startswith("uid: must match")
    assert isinstance(read_report(with_evidence(b'"\\"uid\\":1,\\"uid\\":2"')), Report)
    many = [record(f"n{n}", **more) for n, more in enumerate(EVERY_OPTION)]
    check(many)
    assert not read_reports(many).refused


EVERY_OPTION = [
    {name: value for bit, (name, value) in enumerate(OPTIONS.items()) if subset >> bit & 1}
    for subset in range(1 << len(OPTIONS))
]


@pytest.mark.parametrize(
    ("hours", "ms", "is_report"),
    [(0, 0, True), (0, -1, False), (24, 0, True), (24, 1, False), (-1, 0, False), (24 * 365 * 75, 0, False)],
)
def test_a_behaviour_ends_from_its_beginning_to_24_hours_later(hours: int, ms: int, is_report: bool) -> None:
    ended_at = (NOON + dt.timedelta(hours=hours, milliseconds=ms)).isoformat()
    value = record(ended_at=ended_at)
    check([GOOD, value, GOOD])
    refusal = Refusal(Verdict.MALFORMED, "ended_at: must be from occurred_at to 24 hours after it")
    assert read_reports([GOOD, value, GOOD]).refused == ({} if is_report else {1: refusal})


@pytest.mark.parametrize(("ended", "is_report"), [(".0005", True), (".0015", True), (".9999", False)])
def test_a_behaviour_s_end_is_compared_in_whole_milliseconds(ended: str, is_report: bool) -> None:
    at = record(occurred_at="2024-09-07T12:00:01.0009+08:00", ended_at=f"2024-09-07T12:00:01{ended}+08:00")
    if not is_report:
        at = at.replace(b"01.9999", b"00.9999")
    check([at])
    assert isinstance(read_report(at), Report) == is_report


@pytest.mark.parametrize(
    ("amount", "is_report"),
    [(-1, False), (0, True), (AMOUNT_MAX, True), (AMOUNT_MAX + 1, False), (13_800_138_000, False)],
)
def test_amounts_end_below_the_first_phone_number(amount: int, is_report: bool) -> None:
    assert AMOUNT_MAX < 13_000_000_000
    for said in ({"activity": {"steps": amount}}, {"claimed_reduction_g": amount}):
        check([record(**said)])
        item = read_report(record(**said))
        assert isinstance(item, Report) if is_report else item.verdict is Verdict.MALFORMED


@pytest.mark.parametrize(("brackets", "is_report"), [(NESTED_MAX - 2, True), (NESTED_MAX - 1, False)])
def test_the_bound_on_objects_and_arrays_is_exact(brackets: int, is_report: bool) -> None:
    """The record and its activity are two of them."""
    value = with_evidence(b"[" * brackets + b"]" * brackets)
    assert isinstance(read_report(value), Report) == is_report


def test_usual_reports_are_read_without_a_closer_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """What 5 us a record would cost is not noticed otherwise."""
    monkeypatch.setattr(reports, "read_report", None)
    options = [{}, {"source_txn": None}, {"region": "440305"}, {"claimed_reduction_g": 5}]
    options += [{"other_mechanism": True}, {"ended_at": (NOON + dt.timedelta(hours=24)).isoformat()}]
    options += [{"occurred_at": "2024-09-07T04:00:00.123Z"}, {"source_txn": "0471-20398812"}]
    options += [{"occurred_at": "2024-09-07T04:00:00.123Z", "other_mechanism": False}]
    options += [{"source_txn": "20240907120000-123456"}]
    values = [record(f"gate-0471-2039{n:04}", **said) for n, said in enumerate(options * 20)]
    assert not read_reports(values).refused


def test_without_some_the_others_stay_as_they_are() -> None:
    refusal = Refusal(Verdict.INTERNAL_ERROR, "")
    rare = record("b", other_mechanism=True)
    found = read_reports([GOOD, rare, b"junk", rare])
    left = found.without({0: refusal, 1: refusal})
    assert (list(found.rare), list(left.rare)) == ([1, 3], [3])
    expected = read_reports([b"", b"", b"junk", rare])
    assert plain(left.rare.values()) == plain(expected.rare.values())
    assert left[2:] == expected[2:]
    assert left.refused == expected.refused | {0: refusal, 1: refusal}
    assert len(found.refused) == 1, "a copy was changed"
