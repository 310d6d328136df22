"""The bench's load: its totals are what the platform's own reading and rules make of its records."""

import datetime as dt
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.bench.reports import APPS, Load
from schemas.codec import read_report
from schemas.report import Report
from schemas.rules import floor_ratio, load_rules, ratio

TODAY = dt.date(2024, 9, 7)


def test_same_seed_and_day_give_the_same_bytes():
    assert list(Load(2_000, 1, TODAY).records()) == list(Load(2_000, 1, TODAY).records())
    assert list(Load(2_000, 1, TODAY).records()) != list(Load(2_000, 2, TODAY).records())


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 3_000), seed=st.integers(0, 2**32))
def test_totals_are_those_of_the_records(count: int, seed: int):
    load = Load(count, seed, TODAY)
    rules = load_rules()
    seen: set[tuple[str, str]] = set()
    verdicts: Counter[str] = Counter()
    reduction_mg = 0
    balances: Counter[str] = Counter()
    for record in load.records():
        report = read_report(record.value)
        if report.__class__ is not Report:
            verdicts["malformed"] += 1
        elif (record.app, report.report_id) in seen:
            verdicts["duplicate"] += 1
        else:
            seen.add((record.app, report.report_id))
            verdicts["credited"] += 1
            assert report.uid == record.key
            factor = rules.methodologies[report.methodology][0].factor_mg_per_unit
            mg = floor_ratio(report.activity["distance_m"], *ratio(factor))
            reduction_mg += mg
            balances[report.uid] += mg
    totals = load.totals()
    assert sum(totals.verdicts.values()) == len(load) == count
    assert +verdicts == +Counter(totals.verdicts)
    assert (totals.reduction_mg, totals.points_milli) == (reduction_mg, reduction_mg)
    assert totals.balances_milli == balances


def test_nobody_reaches_the_cap_of_a_day():
    cap_milli = load_rules().exchanges[-1].daily_cap_points * 1_000
    per_day: Counter[tuple[str, str]] = Counter()
    ids = set()
    for record in Load(5_000, 3, TODAY).records():
        report = read_report(record.value)
        if report.__class__ is Report and report.report_id not in ids:
            ids.add(report.report_id)
            factor = 468 if record.app == APPS[0] else 269
            per_day[report.uid, report.report_id[:8]] += report.activity["distance_m"] * factor // 10
    assert max(per_day.values()) <= cap_milli
