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


DAY = 739_136
RACE = {
    "records": 4,
    "verdicts": [["bus", "credited", 1]],
    "reduction_mg": {"bus": 134_500},
    "points_milli": {"bus": 134_500},
    "persons": {"a" * 32: {"2026-09-30": 1_000_000}},
    "races": [
        {
            "uid": "a" * 32,
            "over": ["claim", "cap"],
            "room_milli": [[DAY, 1_000_000]],
            "reports": [
                ["metro", "m", "trip", DAY, 1_123_200, True],
                ["bus", "b", "ride", DAY, 134_500, True],
                ["ridecode", "r", "trip", DAY, 1_123_200, True],
            ],
        }
    ],
}


def outcome(app, report_id, row, verdict="credited"):
    return Outcome(app, (0, 7, row), verdict, "", report_id, "a" * 32, 0, 0, 0, "")


def test_the_first_in_the_ledger_has_the_trip_and_what_is_left_of_the_cap():
    arrivals = [
        outcome("bus", "b", 1),
        outcome("metro", "m", 2),
        outcome("ridecode", "r", 3, "already_claimed"),
    ]
    bus_first = settled(RACE, [*arrivals, outcome("bus", "x", 0)])
    assert bus_first.verdicts == {
        ("bus", "credited"): 2,
        ("metro", "credited_in_part"): 1,
        ("ridecode", "already_claimed"): 1,
    }
    assert bus_first.points_milli == Counter(bus=2 * 134_500, metro=865_500)
    assert bus_first.reduction_mg == Counter(bus=2 * 134_500, metro=1_123_200)
    ridecode_first = settled(
        RACE,
        [outcome("bus", "b", 3), outcome("metro", "m", 2, "already_claimed"), outcome("ridecode", "r", 1)],
    )
    assert ridecode_first.verdicts == {
        ("bus", "credited"): 1,
        ("bus", "cap_reached"): 1,
        ("metro", "already_claimed"): 1,
        ("ridecode", "credited_in_part"): 1,
    }
    assert ridecode_first.reduction_mg == Counter(bus=2 * 134_500, ridecode=1_123_200)
    assert ridecode_first.lots == RACE["persons"]


def test_only_the_order_is_taken_from_the_outcomes():
    """Two credits for one trip are not believed: they show as a difference."""
    outcomes = [outcome("metro", "m", 1), outcome("ridecode", "r", 2), outcome("bus", "b", 3)]
    assert settled(RACE, outcomes).verdicts["ridecode", "already_claimed"] == 1


def test_a_repetition_is_not_taken_for_the_arrival():
    outcomes = [outcome("bus", "b", 3), outcome("metro", "m", 2), outcome("bus", "b", 1, "misrouted")]
    assert settled(RACE, outcomes).verdicts["bus", "cap_reached"] == 1


def test_amounts_are_shown_exactly():
    assert (points(1_234_567), points(0), points(46_800)) == ("1,234.567", "0.000", "46.800")
    assert tonnes(26_242_444_800) == "26.242445"
    assert short("20240907-14a3ed2f00112233") == "20240907-14…"
