"""Ids and bytes: made once, the same in every process, refused as the platform would, without any value."""

import datetime as dt
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import read_report
from schemas.report import AMOUNT_MAX, SHANGHAI, Report
from schemas.verdicts import TABLE, Verdict
from sinks.app_client import Refused, Standing
from sinks.app_client.records import check_record, make_record
from sinks.app_client.standing import STANDING, standing_of
from tests.making import NOON, record, uid

TRIP = {
    "uid": uid(),
    "methodology": "SZ-METRO",
    "occurred_at": NOON,
    "activity": {"distance_m": 7_250},
    "source_txn": "gate-1",
}


def test_the_same_behaviour_has_the_same_id_and_bytes_in_every_process() -> None:
    """Pinned: an id made by another release must not make one behaviour two."""
    made = make_record(**TRIP)
    assert made.report_id == "20240907-kmfo2q4qypzoryg7lqpikd6hh5gmzcfg"
    assert make_record(**TRIP | {"occurred_at": NOON.astimezone(dt.UTC)}) == made
    assert make_record(**TRIP, region=None) == made
    told = make_record(**TRIP, region="440304", evidence={"a": 1, "b": 2})
    assert make_record(evidence={"b": 2, "a": 1}, region="440304", **TRIP) == told


@pytest.mark.parametrize(
    "change",
    [
        {"activity": {"distance_m": 7_251}},
        {"source_txn": "gate-2"},
        {"uid": uid(1)},
        {"occurred_at": NOON + dt.timedelta(seconds=1)},
        {"region": "440304"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_a_report_says_is_in_its_id(change: dict) -> None:
    """So an outcome under an id speaks of these bytes, and a corrected report gets the new id it needs."""
    assert make_record(**TRIP | change).report_id != make_record(**TRIP).report_id


@settings(deadline=None)
@given(
    at=st.datetimes(
        dt.datetime(1980, 1, 1), dt.datetime(2100, 1, 1), timezones=st.timezones(), allow_imaginary=False
    ),
    meters=st.integers(0, AMOUNT_MAX),
    evidence=st.recursive(st.none() | st.booleans() | st.text("abcé", max_size=5), st.lists, max_leaves=5),
)
def test_what_is_made_is_a_report_to_the_platform(at: dt.datetime, meters: int, evidence: object) -> None:
    trip = TRIP | {"occurred_at": at, "activity": {"distance_m": meters}}
    report = read_report(make_record(**trip, evidence=evidence).value)
    assert isinstance(report, Report)
    assert report.occurred_at == at.astimezone(dt.UTC)
    assert report.report_id.startswith(f"{at.astimezone(SHANGHAI):%Y%m%d}-")


@pytest.mark.parametrize(
    ("change", "verdict", "names"),
    [
        ({"activity": {"distance_m": 1.5}}, Verdict.MALFORMED, "activity"),
        ({"activity": {"furlongs": 1}}, Verdict.MALFORMED, "unknown unit"),
        ({"occurred_at": NOON.replace(tzinfo=None)}, Verdict.MALFORMED, "occurred_at: must be"),
        ({"occurred_at": "2024-09-07"}, Verdict.MALFORMED, "occurred_at: must be"),
        ({"source_txn": None, "sauce_txn": "SECRET"}, Verdict.MALFORMED, "is source_txn meant?"),
        ({"source_txn": "13800138000"}, Verdict.PERSONAL_DATA, "source_txn"),
        ({"evidence": {"x": float("nan")}}, Verdict.MALFORMED, "no JSON"),
        ({"evidence": b"SECRET"}, Verdict.MALFORMED, "no JSON"),
        ({"uid": "SECRET"}, Verdict.MALFORMED, "uid: must match"),
        ({"evidence": "x" * 3_000}, Verdict.MALFORMED, "evidence: at most"),
        ({"evidence": "x" * 20_000}, Verdict.TOO_LARGE, "at most 16384"),
    ],
)
def test_refused_before_it_is_sent_by_the_platform_s_verdict(
    change: dict, verdict: Verdict, names: str
) -> None:
    with pytest.raises(Refused) as caught:
        make_record(**TRIP | change)
    assert caught.value.verdict is verdict
    assert names in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert "13800138000" not in str(caught.value)


def test_a_ready_made_record_keeps_its_bytes() -> None:
    value = record("b") + b"\n"
    assert check_record(value) == (json.loads(value)["report_id"], uid(), value)


def test_every_verdict_that_an_app_can_get_has_a_standing_that_agrees_with_the_verdict_page() -> None:
    told_to_apps = {verdict for verdict, meaning in TABLE.items() if meaning.app_should != "-"}
    assert set(STANDING) == told_to_apps
    for verdict, standing in STANDING.items():
        assert (standing is Standing.RECORDED) == TABLE[verdict].takes_claim, verdict
        if standing in (Standing.RETRIED, Standing.HELD):
            assert not TABLE[verdict].remembers_id, f"{verdict}: the same id would be a duplicate"
    assert standing_of("a verdict of next year") is Standing.UNKNOWN
