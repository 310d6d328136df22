"""The oracle against small cases reckoned by hand, and its independence."""

import ast
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.demo.generator import Manifest, Record, Saturday
from loadtest.demo.oracle.order import in_order
from loadtest.demo.oracle.records import shard_of
from loadtest.demo.reports import behaviours_of, encode, honest_report, saturdays, simulated_clock
from loadtest.demo.taps import read_taps
from schemas.shards import shards_of

ORACLE = Path(__file__).parents[2] / "loadtest" / "demo" / "oracle"
METRO_3 = "AAA,2018-09-01 08:15:00,地铁出站,285,300,m1,l,s"  # 4 km: 187,200 mg, 187.2 points
METRO_7 = "AAA,2018-09-01 10:15:00,地铁出站,665,700,m2,l,s"  # 24 km: 1,123,200 mg
BUS_2 = "AAA,2018-09-01 09:15:00,巴士,160,200,b1,l,s"  # 5 km: 134,500 mg
METRO_15 = "BBB,2018-09-01 09:15:00,地铁出站,1500,1500,m3,l,s"  # 88 km


class Refused(Exception):
    """The oracle ended without a prediction."""


def judged(path, manifest_path):
    """What the oracle says, run as the demo runs it: a program that cannot import the project."""
    command = [sys.executable, "-I", str(ORACLE), str(path), str(manifest_path)]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    if run.returncode:
        raise Refused(run.stderr)
    return json.loads(run.stdout)


def sent(report, app=None, **changes):
    """The record of a report, changed, for the first tap of a file."""
    report = report | changes
    methodology = {"SZ-METRO": "metro", "SZ-BUS-BEV": "bus"}
    return Record(app or methodology[report["methodology"]], "report", 2, report["uid"], None, encode(report))


def predicted(path, dates, manifest_path, changes=lambda report: report):
    """The oracle's result for honest reports of a file of taps on some Saturdays, changed by `changes`."""
    behaviours = behaviours_of(read_taps(path)).reported
    manifest = Manifest(manifest_path, 4)
    for date in dates:
        reports = [(b, honest_report(b, date)) for b in behaviours]
        records = [
            Record(b.app, "report", b.tap.line, r["uid"], None, encode(changes(r))) for b, r in reports
        ]
        manifest.add(Saturday(date, simulated_clock(date, behaviours), [records]))
    return judged(path, manifest_path)


def predicted_rounds(path, manifest_path, *rounds):
    """The oracle's result for the first Saturday of a file; a round lists (line of the tap, app)."""
    behaviours = {b.tap.line: b for b in behaviours_of(read_taps(path)).reported}
    [date] = saturdays()[:1]
    sent = []
    for told in rounds:
        sent.append([])
        for line, app in told:
            by = "" if app == behaviours[line].app else app
            report = honest_report(behaviours[line], date, by)
            sent[-1].append(Record(app, "report", line, report["uid"], None, encode(report)))
    manifest = Manifest(manifest_path, 4)
    manifest.add(Saturday(date, simulated_clock(date, list(behaviours.values())), sent))
    return judged(path, manifest_path)


@pytest.fixture
def manifest_path(tmp_path):
    return tmp_path / "manifest.jsonl"


def test_points_and_month_ends(taps_file, manifest_path):
    result = predicted(taps_file(METRO_3, BUS_2), saturdays(), manifest_path)
    assert result["verdicts"] == [["bus", "credited", 6], ["metro", "credited", 6]]
    assert result["reduction_mg"] == {"metro": 6 * 187_200, "bus": 6 * 134_500}
    # Four Saturdays of September, two of October: 24 months, to the month's end.
    [lots] = result["persons"].values()
    assert lots == {"2026-09-30": 4 * 321_700, "2026-10-31": 2 * 321_700}


def test_the_cap_cuts_points_not_reduction(taps_file, manifest_path):
    result = predicted(
        taps_file(METRO_3, METRO_7, METRO_3.replace("m1", "m9")), saturdays()[:1], manifest_path
    )
    # 187.2 + 812.8 of 1,123.2, then nothing is left.
    assert result["verdicts"] == [
        ["metro", "cap_reached", 1],
        ["metro", "credited", 1],
        ["metro", "credited_in_part", 1],
    ]
    assert result["reduction_mg"] == {"metro": 187_200 + 1_123_200 + 187_200}
    assert result["points_milli"] == {"metro": 1_000_000}
    assert list(result["persons"].values()) == [{"2026-09-30": 1_000_000}]


def test_a_cap_that_binds_two_apps_is_a_race_with_a_known_sum(taps_file, manifest_path):
    result = predicted(taps_file(METRO_7, BUS_2), saturdays()[:1], manifest_path)
    [race] = result["races"]
    assert race["over"] == ["cap"]
    assert race["room_milli"] == [[saturdays()[0].toordinal(), 1_000_000]]
    assert [(r[0], r[4]) for r in race["reports"]] == [("metro", 1_123_200), ("bus", 134_500)]
    assert (result["verdicts"], result["reduction_mg"]) == ([], {})
    assert list(result["persons"].values()) == [{"2026-09-30": 1_000_000}]


METRO_FIRST = ([(2, "metro")], [(2, "ridecode")])
RIDECODE_FIRST = ([(2, "ridecode")], [(2, "metro")])


@pytest.mark.parametrize(
    ("rounds", "verdicts"),
    [
        (METRO_FIRST, [["metro", "credited", 1], ["ridecode", "already_claimed", 1]]),
        (RIDECODE_FIRST, [["metro", "already_claimed", 1], ["ridecode", "credited", 1]]),
    ],
)
def test_who_is_answered_before_the_other_sends_has_the_trip(taps_file, manifest_path, rounds, verdicts):
    result = predicted_rounds(taps_file(METRO_3), manifest_path, *rounds)
    assert (result["verdicts"], result["races"]) == (verdicts, [])
    assert list(result["persons"].values()) == [{"2026-09-30": 187_200}]


def test_a_trip_that_the_first_app_may_not_be_credited_for_is_open_to_the_second(taps_file, manifest_path):
    """`activity_invalid` takes no claim: the second is judged by itself, and says the same wrong distance."""
    result = predicted_rounds(taps_file(METRO_15), manifest_path, *METRO_FIRST)
    assert result["verdicts"] == [["metro", "activity_invalid", 1], ["ridecode", "activity_invalid", 1]]


def test_a_trip_that_two_apps_report_at_once_is_a_race_with_a_known_sum(taps_file, manifest_path):
    result = predicted_rounds(taps_file(METRO_3), manifest_path, [(2, "metro"), (2, "ridecode")])
    [race] = result["races"]
    assert race["over"] == ["claim"]
    assert [r[0] for r in race["reports"]] == ["metro", "ridecode"]
    assert (result["verdicts"], result["reduction_mg"], result["points_milli"]) == ([], {}, {})
    assert list(result["persons"].values()) == [{"2026-09-30": 187_200}]


def test_a_trip_and_the_cap_may_be_raced_for_together_and_what_is_left_is_known_after(
    taps_file, manifest_path
):
    """METRO_7 alone reaches the cap, so the next round finds nothing left, whoever won this one."""
    first = [(2, "metro"), (2, "ridecode"), (3, "bus")]
    result = predicted_rounds(taps_file(METRO_7, BUS_2, METRO_3), manifest_path, first, [(4, "metro")])
    [race] = result["races"]
    assert race["over"] == ["claim", "cap"]
    assert result["verdicts"] == [["metro", "cap_reached", 1]]
    assert list(result["persons"].values()) == [{"2026-09-30": 1_000_000}]


def test_every_order_of_a_race_gives_the_same_sum():
    day = 738_000
    reports = [
        ["metro", "m1", "trip 1", day, 700_000, True],
        ["ridecode", "r1", "trip 1", day, 700_000, True],
        ["metro", "m1 again", "trip 1", day, 700_000, True],
        ["bus", "b1", "ride 1", day, 500_000, True],
        ["metro", "m2", "trip 2", day, 187_200, False],
    ]
    sums, splits = set(), set()
    for order in itertools.permutations(reports):
        settled = in_order(order, [(day, 900_000)])
        sums.add((sum(mg for _, mg, _ in settled), sum(points for _, _, points in settled)))
        splits.add(tuple(sorted(r[0] + verdict for r, (verdict, _, _) in zip(order, settled, strict=True))))
        verdicts = [
            verdict for report, (verdict, _, _) in zip(order, settled, strict=True) if "1" in report[1]
        ]
        assert verdicts.count("already_claimed") == 2
    assert sums == {(700_000 + 500_000 + 187_200, 900_000)}
    assert len(splits) > 2


def test_a_race_whose_sum_depends_on_its_order_is_no_prediction(taps_file, manifest_path):
    path = taps_file(METRO_3)
    behaviours = behaviours_of(read_taps(path)).reported
    [date] = saturdays()[:1]
    household = sent(honest_report(behaviours[0], date), subject_type="household")
    rival = sent(honest_report(behaviours[0], date, "ridecode"), "ridecode")
    manifest = Manifest(manifest_path, 4)
    manifest.add(Saturday(date, simulated_clock(date, behaviours), [[household, rival]]))
    with pytest.raises(Refused, match="no sum is certain"):
        judged(path, manifest_path)


def test_two_apps_below_the_cap_are_no_race(taps_file, manifest_path):
    assert predicted(taps_file(METRO_3, BUS_2), saturdays()[:1], manifest_path)["races"] == []


def test_a_naively_inverted_fare_is_invalid_and_takes_no_claim(taps_file, manifest_path):
    result = predicted(taps_file(METRO_15, METRO_15), saturdays()[:1], manifest_path)
    assert result["verdicts"] == [["metro", "activity_invalid", 1], ["metro", "duplicate", 1]]
    assert result["persons"] == {}


def test_the_same_tap_twice_is_a_duplicate(taps_file, manifest_path):
    result = predicted(taps_file(BUS_2, BUS_2), saturdays()[:1], manifest_path)
    assert result["verdicts"] == [["bus", "credited", 1], ["bus", "duplicate", 1]]


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"points": 1}, "malformed"),
        ({"activity": {"distance_m": 5000.0}}, "malformed"),
        ({"occurred_at": "2024-09-06T09:15:00+08:00"}, "malformed"),
        ({"uid": "A" * 32}, "malformed"),
        ({"version": 2}, "unsupported_version"),
        ({"kind": "bonus"}, "forbidden_operation"),
        ({"kind": "consent"}, "malformed"),
        ({"ended_at": "2024-09-08T09:16:00+08:00"}, "malformed"),
        ({"source_txn": "440301-19000101-0003"}, "personal_data"),
        ({"source_txn": "13800138000"}, "personal_data"),
        ({"evidence": {"a": ["440301190001010003"]}}, "personal_data"),
        ({"evidence": {"a": "440301190001010004", "b": 1.5}}, "credited"),
        ({"methodology": "SZ-METRO"}, "methodology_unknown"),
        ({"scene_id": "metro-gate"}, "scene_not_granted"),
        ({"region": "440100"}, "out_of_region"),
        ({"activity": {"distance_m": 5000, "items": 1}}, "activity_invalid"),
        ({"subject_type": "household"}, "recorded_only"),
        ({"subject_type": "person"}, "credited"),
    ],
)
def test_verdicts(taps_file, manifest_path, change, verdict):
    path = taps_file(BUS_2)
    behaviours = behaviours_of(read_taps(path)).reported
    [date] = saturdays()[:1]
    report = honest_report(behaviours[0], date)
    record = sent(report, "bus", **change)
    again = sent(report, report_id="20240907-again", source_txn="other")
    manifest = Manifest(manifest_path, 4)
    manifest.add(Saturday(date, simulated_clock(date, behaviours), [[record, again]]))
    counts = {v: n for _, v, n in judged(path, manifest_path)["verdicts"]}
    expected = {"credited": 1}
    expected[verdict] = expected.get(verdict, 0) + 1
    assert counts == expected


@pytest.mark.parametrize(
    ("days", "verdict"),
    [(9, "credited"), (10, "too_late"), (-1, "occurred_in_future"), (800, "outside_validity")],
)
def test_times(taps_file, manifest_path, days, verdict):
    path = taps_file(BUS_2)
    behaviours = behaviours_of(read_taps(path)).reported
    date = saturdays()[0]
    report = honest_report(behaviours[0], date)
    at = simulated_clock(date, behaviours) - simulated_clock(date, behaviours).resolution
    at = at.replace(microsecond=0) - (date - date.fromordinal(date.toordinal() - days))
    moved = dict.fromkeys(("occurred_at", "ended_at"), at.isoformat())
    moved = sent(report, report_id=f"{at:%Y%m%d}-x", **moved)
    manifest = Manifest(manifest_path, 4)
    manifest.add(Saturday(date, simulated_clock(date, behaviours), [[sent(report), moved]]))
    counts = [[v, n] for _, v, n in judged(path, manifest_path)["verdicts"]]
    assert counts == ([["credited", 2]] if verdict == "credited" else [["credited", 1], [verdict, 1]])


def test_it_contradicts_a_report_that_is_not_of_its_tap(taps_file, manifest_path):
    def longer(report):
        return report | {"activity": {"distance_m": 6_000}}

    with pytest.raises(Refused, match="the report says 6000 m, the fare says 5000 m"):
        predicted(taps_file(BUS_2), saturdays()[:1], manifest_path, longer)


def test_it_misses_a_behaviour_that_was_not_reported(taps_file, manifest_path):
    def spoilt(report):
        return report | {"version": 2}

    with pytest.raises(Refused, match="was not reported for 2024-09-07"):
        predicted(taps_file(BUS_2), saturdays()[:1], manifest_path, spoilt)


def test_its_partitioner_is_kafkas():
    uids = [f"{number:032x}" for number in range(1000)]
    assert [shard_of(uid, 64) for uid in uids] == shards_of(uids, 64)


def test_it_misses_a_behaviour_that_another_app_reported_only(taps_file, manifest_path):
    with pytest.raises(Refused, match="was not reported for 2024-09-07"):
        predicted_rounds(taps_file(METRO_3), manifest_path, [(2, "ridecode")])


def test_it_imports_the_standard_library_only():
    imported = set()
    for path in ORACLE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module if not node.level else ".")
    own = {path.stem for path in ORACLE.glob("*.py")}
    assert own > {"order", "records", "taps"}
    assert {name.partition(".")[0] for name in imported} - own <= sys.stdlib_module_names
