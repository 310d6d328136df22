"""A name that stands twice in a record refuses it: readers of JSON differ in which one they take."""

import pytest

from schemas.codec import Refusal, read_report
from schemas.reports import read_reports
from schemas.verdicts import Verdict
from tests.making import NOON, record, uid

GOOD = record()
TWICE = {
    "version": GOOD[:-1] + b',"version":1}',
    "uid": b'{"uid":"' + uid(1).encode() + b'",' + GOOD[1:],
    "report_id": GOOD[:-1] + b',"\\u0072eport_id":"20240907-b"}',
    "activity": GOOD[:-1] + b',"activity":{"distance_m":9}}',
    "activity.distance_m": GOOD.replace(b"1000}", b'1000, "distance_m": 9}'),
    "region": record(region="440305")[:-1] + b', "region" : "440305"}',
    "evidence": record(evidence={"a": 1})[:-1] + b',"evidence":{}}',
    "other_mechanism": record(other_mechanism=True)[:-1] + b',"other_mechanism":true}',
    "ended_at": record(ended_at=NOON.isoformat())[:-1] + b',"ended_at":"' + NOON.isoformat().encode() + b'"}',
}


@pytest.mark.parametrize("name", TWICE)
def test_a_name_that_stands_twice_is_refused(name: str) -> None:
    """One reader of JSON takes the first, another the last: an auditor would read another amount."""
    for item in (read_report(TWICE[name]), read_reports([GOOD, TWICE[name], GOOD]).refused[1]):
        assert item == Refusal(Verdict.MALFORMED, f"{name}: stands twice")


@pytest.mark.parametrize(
    "value",
    [
        TWICE["version"].replace(b'"version":1', b'"version":2'),
        TWICE["uid"].replace(b'"report"', b'"transfer"'),
        record(version=2, more=[{"a": 1}])[:-1] + b',"b":{"c":{"a":1,"a":2}}}',
    ],
)
def test_a_name_that_stands_twice_comes_before_version_and_kind(value: bytes) -> None:
    assert read_report(value).verdict == Verdict.MALFORMED
