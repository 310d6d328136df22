"""Bytes to reports: total, strict, the same alone and in company, and silent about what the app wrote."""

import json
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import NESTED_MAX, Refusal, read_report, read_reports
from schemas.limits import EVIDENCE_BYTES_MAX, RECORD_BYTES_MAX
from schemas.personal_data import holds_personal_data, is_id_number
from schemas.report import Report, to_ms
from schemas.verdicts import Verdict
from tests.making import NOON, fields, record, uid

GOOD = record()
ID_NUMBER, WRONG_CHECK = "44030519900101123X", "440305199001011230"
assert len(ID_NUMBER) == 18


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
    GOOD.replace(b"1000", b"9" * 5_000), GOOD.replace(b"1000", b"1e400"),
    GOOD.replace(b'"report"', b'"UNSET"'),
    GOOD[:-1] + b',"uid":"x"}', GOOD[:-1] + b',"version":1}', GOOD[:-1] + b',"region":"UNSET"}',
    record(source_txn="UNSET"), record(region="\u0661" * 6), record(uid="\uff10" * 32),
    record(uid=uid().upper()),
    record(source_txn="a b"), record(source_txn=""), record(report_id="20240907-x\n"),
    record(source_txn="x\n"),
    # Two lines that both look right, in one record.
    record(report_id=f"20240907-x M  \n{uid()} 20240907-y"),
    record(source_txn=f"a \n{uid()} 20240907-y M b"),
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
        "ended_at": st.just(NOON.isoformat()),
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


@settings(max_examples=400, deadline=None)
@given(st.lists(values, max_size=70))
def test_many_at_a_time_are_read_exactly_as_one_by_one(chunk: list[bytes]) -> None:
    items, occurred_ms = read_reports(chunk)
    alone = [read_report(value) for value in chunk]
    assert plain(items) == plain(alone)
    assert occurred_ms == [to_ms(r.occurred_at) if isinstance(r, Report) else 0 for r in alone]


@pytest.mark.parametrize("company", [[], [GOOD] * 3])
def test_no_hostile_value_changes_what_its_neighbours_are(company: list[bytes]) -> None:
    for first in HOSTILE:
        for second in HOSTILE:
            chunk = [*company, first, second, *company]
            assert plain(read_reports(chunk)[0]) == plain(map(read_report, chunk))


def test_the_joined_path_is_taken_by_good_records_and_agrees() -> None:
    chunk = [record(f"n{n}") for n in range(100)]
    assert all(isinstance(item, Report) for item in read_reports(chunk)[0])


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


secrets = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=12, max_size=30).map(
    lambda text: "zq" + text
)


@settings(max_examples=200, deadline=None)
@given(secret=secrets, place=st.sampled_from([*sorted(fields()), "new field", "unit", "name in evidence"]))
def test_a_detail_never_repeats_what_the_app_wrote(secret: str, place: str) -> None:
    if place == "new field":
        value = record(**{secret: secret})
    elif place == "unit":
        value = record(activity={secret: 5})
    elif place == "name in evidence":
        value = record(evidence={secret: secret}, version=3)
    else:
        value = record(**{place: secret})
    for sent in (value, value[:-1], value.replace(secret.encode(), secret.encode() + b"\xff")):
        item = read_report(sent)
        if isinstance(item, Refusal):
            assert secret.lower() not in item.detail.lower()


def test_a_misspelt_field_is_named_by_what_was_meant() -> None:
    assert read_report(record(sourc_txn="x")).detail == "record: unknown field; is source_txn meant?"


@pytest.mark.parametrize("name", ["source_txn", "scene_id", "evidence_tier", "methodology"])
@pytest.mark.parametrize("text", [ID_NUMBER, "13800138000", f"x-{ID_NUMBER}.y", "8613800138000"])
def test_personal_data_in_any_free_field_is_refused(name: str, text: str) -> None:
    assert read_report(record(**{name: text})).verdict == Verdict.PERSONAL_DATA
    assert read_reports([GOOD, record(**{name: text}), GOOD])[0][1].verdict == Verdict.PERSONAL_DATA


@pytest.mark.parametrize(
    "text",
    [
        WRONG_CHECK,
        "04030519900101123X",
        "440305199002301234",
        "99030519900101123X",
        "1" + ID_NUMBER,
        "12800138000",
    ],
)
def test_numbers_that_only_look_alike_pass(text: str) -> None:
    assert not holds_personal_data([text])
    assert isinstance(read_report(record(source_txn=text)), Report)


@given(st.dates(min_value=NOON.date().replace(year=1900), max_value=NOON.date()), st.integers(0, 999))
def test_exactly_one_check_character_makes_an_id_number(born: object, serial: int) -> None:
    stem = f"440305{born:%Y%m%d}{serial:03}"
    assert sum(is_id_number(stem + check) for check in "0123456789X") == 1
    assert is_id_number(ID_NUMBER.lower())


def test_personal_data_in_evidence_is_refused_and_forbidden_kinds_do_not_hide_it() -> None:
    assert read_report(record(evidence={"phone": "13800138000"})).verdict == Verdict.PERSONAL_DATA
    assert read_report(record(evidence=[f"id {ID_NUMBER}"])).verdict == Verdict.PERSONAL_DATA
    assert read_report(record(kind="transfer", note=ID_NUMBER)).verdict == Verdict.PERSONAL_DATA


def test_limits_are_exact() -> None:
    padding = b" " * (RECORD_BYTES_MAX - len(GOOD))
    assert isinstance(read_report(GOOD[:-1] + padding + b"}"), Report)
    assert read_report(GOOD[:-1] + padding + b" }").verdict == Verdict.TOO_LARGE
    fits = EVIDENCE_BYTES_MAX - 2
    assert isinstance(read_report(record(evidence="e" * fits)), Report)
    assert read_report(record(evidence="e" * (fits + 1))).detail == "evidence: at most 2048 bytes"


def test_every_missing_field_is_named() -> None:
    for name in ("version", "uid", "report_id", "methodology", "occurred_at", "activity"):
        assert name in read_report(record(**{name: None})).detail
    assert re.search("kind", read_report(record(kind=None)).detail)
