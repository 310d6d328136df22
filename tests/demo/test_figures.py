"""Five accounts are compared in all that each of them keeps; races are followed in the ledger's order."""

import io
from collections import Counter

import pytest
from rich.console import Console

from loadtest.demo.app_client import Outcome
from loadtest.demo.figures import Figures, Summing, differences
from loadtest.demo.page import points, short, show_differences, tonnes
from loadtest.demo.races import settled


def figures(milli=500, verdicts=("credited",), reduction_mg=500):
    sums = Summing()
    for verdict in verdicts:
        sums.add("bus", verdict, "a" * 32, "2026-09-30", reduction_mg, milli)
    return sums.figures()


def test_equal_accounts_have_no_difference():
    redis = Figures({"a" * 32: {"2026-09-30": 500}, "b" * 32: {}}, None, None, None)
    assert differences({"oracle": figures(), "redis": redis, "ledger": figures()}) == []


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (figures(milli=499), ["person " + "a" * 32, "points_milli bus"]),
        (figures(verdicts=("credited_in_part",)), ["verdicts bus credited", "verdicts bus credited_in_part"]),
        (figures(reduction_mg=501), ["reduction_mg bus"]),
        (
            Summing().figures(),
            ["person " + "a" * 32, "verdicts bus credited", "reduction_mg bus", "points_milli bus"],
        ),
        (Figures({"a" * 32: {"2026-10-31": 500}}, None, None, None), ["person " + "a" * 32]),
        (Figures({}, None, None, None), ["person " + "a" * 32]),
    ],
)
def test_every_difference_is_found_and_named(other, what):
    assert [d.what for d in differences({"oracle": figures(), "other": other})] == what


def test_a_difference_says_what_each_account_says():
    [difference] = differences(
        {
            "oracle": figures(),
            "redis": Figures({"a" * 32: {"2026-09-30": 300, "2026-10-31": 200}}, None, None, None),
        }
    )
    assert difference.values == {
        "oracle": "0.500 = 0.500 to 2026-09-30",
        "redis": "0.500 = 0.300 to 2026-09-30 + 0.200 to 2026-10-31",
    }
    out = io.StringIO()
    show_differences([difference] * 9, Console(file=out, width=120))
    assert "9 differences" in out.getvalue()
    assert out.getvalue().count("person aaaa") == 5


RACE = {
    "records": 3,
    "verdicts": [["bus", "credited", 1]],
    "reduction_mg": {"bus": 134_500, "metro": 1_123_200},
    "points_milli": {"bus": 134_500},
    "persons": {"a" * 32: {"2026-09-30": 1_000_000}},
    "races": [
        {
            "uid": "a" * 32,
            "room_milli": 1_000_000,
            "reports": [["metro", "m", 1_123_200], ["bus", "b", 134_500]],
        }
    ],
}


def outcome(app, report_id, row, verdict="credited"):
    return Outcome(app, (0, 7, row), verdict, "", report_id, "a" * 32, 0, 0, 0, "")


def test_the_first_in_the_ledger_gets_what_is_left_of_the_cap():
    bus_first = settled(RACE, [outcome("bus", "b", 1), outcome("metro", "m", 2), outcome("bus", "x", 0)])
    assert bus_first.verdicts == {("bus", "credited"): 2, ("metro", "credited_in_part"): 1}
    assert bus_first.points_milli == {"bus": 2 * 134_500, "metro": 865_500}
    metro_first = settled(RACE, [outcome("bus", "b", 3), outcome("metro", "m", 2)])
    assert metro_first.verdicts == Counter(
        {("bus", "credited"): 1, ("bus", "cap_reached"): 1, ("metro", "credited_in_part"): 1}
    )
    assert metro_first.lots == RACE["persons"]


def test_a_repetition_is_not_taken_for_the_arrival():
    outcomes = [outcome("bus", "b", 3), outcome("metro", "m", 2), outcome("bus", "b", 1, "misrouted")]
    assert settled(RACE, outcomes).verdicts["bus", "cap_reached"] == 1


def test_amounts_are_shown_exactly():
    assert (points(1_234_567), points(0), points(46_800)) == ("1,234.567", "0.000", "46.800")
    assert tonnes(26_242_444_800) == "26.242445"
    assert short("20240907-14a3ed2f00112233") == "20240907-14a3e…"
