"""The oracle and the platform read every record alike: two readers that share nothing."""

import datetime as dt
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.demo.oracle.records import millisecond, read_record
from schemas.codec import Refusal, read_report
from schemas.report import to_ms
from tests.making import NOON, record
from tests.personal_numbers import AS_NAMES, IN_TEXTS, LOOKS_ALIKE, NOT_FOUND


def said_twice(name, value):
    """A report with one of its names a second time."""
    return record()[:-1] + json.dumps({name: value}).encode().replace(b"{", b",", 1)


ODD = st.sampled_from([*AS_NAMES, *IN_TEXTS, *NOT_FOUND, *LOOKS_ALIKE])
SPOILT = (
    st.tuples(st.sampled_from(["report_id", "source_txn", "scene_id", "methodology", "evidence"]), ODD).map(
        lambda said: record(**{said[0]: "20240907-" + said[1] if said[0] == "report_id" else said[1]})
    )
    | st.tuples(st.sampled_from(["uid", "activity", "evidence", "zq"]), ODD).map(
        lambda said: said_twice(*said)
    )
    | ODD.map(lambda text: record(evidence=[{text: 1}, {"a": text}]))
    | st.lists(
        st.sampled_from(["138", "0013", "8000", "86", "0086", "-", ".", ":", "440305", "19900101", "123X"])
    )
    .map("".join)
    .map(lambda text: record(source_txn=text[:64]))
    | st.integers(-2, 90_000_000).map(
        lambda ms: record(ended_at=(NOON + dt.timedelta(milliseconds=ms)).isoformat())
    )
    | st.text("0123456789", max_size=10).map(
        lambda digits: record(occurred_at=f"2024-09-07T23:59:59.9{digits}+08:00")
    )
    | st.sampled_from([10**10, 10**10 + 1, -1, 1.0]).map(lambda amount: record(claimed_reduction_g=amount))
)


@settings(max_examples=800, deadline=None)
@given(SPOILT)
def test_it_reads_records_as_the_platform_does(value):
    verdict, fields = read_record(value.decode())
    item = read_report(value)
    assert (verdict or "report") == (item.verdict.code if isinstance(item, Refusal) else "report")
    if fields:
        assert millisecond(fields["occurred_at"]).timestamp() * 1000 == to_ms(item.occurred_at)
