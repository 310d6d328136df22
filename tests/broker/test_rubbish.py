"""Bad data is a verdict, never an exception: rubbish between good records costs nobody a point."""

import json

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from schemas.topics import intake_topic
from schemas.verdicts import Verdict
from tests.broker.traffic import send

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

RUBBISH = 1_000
GOOD = 500
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_report_shaped = st.fixed_dictionaries(
    {"version": st.integers() | _json, "kind": st.just("report") | _json, "uid": _json},
    optional=dict.fromkeys(("report_id", "methodology", "occurred_at", "activity", "evidence"), _json),
)
_rubbish = (
    st.none()
    | st.binary(max_size=300)
    | _json.map(lambda value: json.dumps(value).encode())
    | _report_shaped.map(lambda value: json.dumps(value).encode())
    | st.integers(1, 20_000).map(lambda size: b"{" * size)
)


def made_by_hypothesis(count: int) -> list[bytes | None]:
    made: list[bytes | None] = []

    @settings(
        max_examples=count, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(_rubbish)
    def collect(value: bytes | None) -> None:
        made.append(value)

    while len(made) < count:
        collect()
    return made[:count]


def test_rubbish_gets_one_row_each_and_every_good_record_is_credited(platform) -> None:
    producer = platform.producer("app-metro")
    for number, value in enumerate(made_by_hypothesis(RUBBISH)):
        if number % (RUBBISH // GOOD) == 0:
            send(producer, "metro", number // (RUBBISH // GOOD), 1)
        producer.produce(intake_topic("metro"), value, key=f"{number}", partition=number % 4)
        producer.poll(0)
    producer.flush()
    platform.worker()
    platform.wait_until_decided(RUBBISH + GOOD)

    assert platform.rows() == platform.committed_records()
    assert set(platform.rows().values()) == {1}
    verdicts = [v for block in platform.accepted() for v in block.rows.column("verdict").to_pylist()]
    assert verdicts.count(int(Verdict.CREDITED)) == GOOD
    assert verdicts.count(int(Verdict.INTERNAL_ERROR)) == 0
