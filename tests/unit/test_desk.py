"""The rows of a cycle: bounds of an activity and of a day's cap from both sides; what a row leaves behind."""

import msgspec
import pytest

from schemas.limits import FUTURE_TOLERANCE_MS
from schemas.rules import Rules
from schemas.verdicts import REMEMBERS_ID, TELLS_BALANCE, Verdict
from tests.making import APPS, METRO, NOON, TODAY, head, record, rules, uid, used_up
from tests.unit.test_decide import CAP_MILLI, DAY, changed_rules, decided, verdicts

KM_MILLI = 46_800  # points of 1,000 m
BOUNDED = changed_rules(m_activity_min=500, m_activity_max=1_000)


def ridden(distance_m: int, name: str = "a", **said: object) -> tuple[str, bytes]:
    return METRO, record(name, activity={"distance_m": distance_m}, **said)


@pytest.mark.parametrize("unusual", [{}, {"scene_id": "metro-gate"}], ids=["usual", "unusual"])
@pytest.mark.parametrize(
    ("distance_m", "verdict"),
    [(499, "activity_invalid"), (500, "credited"), (1_000, "credited"), (1_001, "activity_invalid")],
)
def test_the_least_and_the_most_of_an_activity_are_credited(
    distance_m: int, verdict: str, unusual: dict
) -> None:
    block = decided(ridden(distance_m, **unusual), in_use=BOUNDED)
    assert verdicts(block) == [verdict]
    assert bool(block.rows.column("reduction_mg")[0].as_py()) == (verdict == "credited")


@pytest.mark.parametrize("in_use", [BOUNDED, rules()], ids=["bounded", "packaged"])
def test_a_neighbour_s_bounds_are_nobody_s_else(in_use: Rules) -> None:
    """What is found once for many records is found for those of the same unit and region alone."""
    least = in_use.methodologies["SZ-METRO"][0].activity_min
    said = [
        ridden(least, "a"),
        ridden(least, "b", region="440300"),
        ridden(least, "c", region="110000"),
        (METRO, record("d", activity={"steps": least})),
        ridden(least, "e"),
    ]
    assert verdicts(decided(*said, in_use=in_use)) == [
        "credited", "credited", "out_of_region", "activity_invalid", "credited",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("used_milli", "verdict", "points_milli"),
    [
        (CAP_MILLI - KM_MILLI - 1, "credited", KM_MILLI),
        (CAP_MILLI - KM_MILLI, "credited", KM_MILLI),
        (CAP_MILLI - KM_MILLI + 1, "credited_in_part", KM_MILLI - 1),
        (CAP_MILLI - 1, "credited_in_part", 1),
        (CAP_MILLI, "cap_reached", 0),
        (CAP_MILLI + 1, "cap_reached", 0),  # by an earlier rule
    ],
)
def test_the_cap_of_a_day_cuts_points_exactly_where_they_pass_it(
    used_milli: int, verdict: str, points_milli: int
) -> None:
    block = decided(ridden(1_000), persons={uid(): used_up(used_milli)})
    [row] = block.rows.to_pylist()
    assert verdicts(block) == [verdict]
    assert (row["points_milli"], row["reduction_mg"]) == (points_milli, KM_MILLI)
    assert row["balance_milli"] == used_milli + points_milli
    assert (row["expiry_day"] > TODAY) == (points_milli > 0)


def test_a_cap_is_that_of_the_behaviour_s_day() -> None:
    block = decided(ridden(1_000, at=NOON - DAY), persons={uid(): used_up(CAP_MILLI)})
    assert verdicts(block) == ["credited"]


REFUSED_ONCE: dict[str, tuple[bytes, dict]] = {
    "occurred_in_future": (record(at=NOON + 2 * FUTURE_TOLERANCE_MS * (DAY / 86_400_000)), {}),
    "outside_validity": (record(at=NOON.replace(year=2022, month=8, day=17)), {}),
    "too_late": (record(at=NOON - 20 * DAY), {}),
    "methodology_unknown": (record(methodology="SZ-BUS-BEV"), {}),
    "methodology_not_in_force": (record(), {"in_use": changed_rules(m_in_force_from=NOON.date() + DAY)}),
    "scene_not_granted": (record(scene_id="bus-reader"), {}),
    "out_of_region": (record(region="110000"), {}),
    "activity_invalid": (record(activity={"steps": 1}), {}),
    "app_not_active": (
        record(),
        {"after": head(apps=APPS | {"metro": msgspec.structs.replace(APPS["metro"], active=False)})},
    ),
}


@pytest.mark.parametrize("code", REFUSED_ONCE)
def test_the_same_record_again_in_its_cycle_is_a_duplicate_if_its_id_is_remembered(code: str) -> None:
    value, beside = REFUSED_ONCE[code]
    verdict = Verdict[code.upper()]
    again = "duplicate" if verdict in REMEMBERS_ID else code
    block = decided((METRO, value), (METRO, value), persons={uid(): used_up(7)}, **beside)
    assert verdicts(block) == [code, again]
    told = [row["balance_milli"] for row in block.rows.to_pylist()]
    assert told == [7 if v in TELLS_BALANCE else 0 for v in (verdict, Verdict[again.upper()])]


def test_a_record_refused_for_its_claim_has_its_id_remembered() -> None:
    one, other = ridden(1_000, "a"), ridden(1_000, "b", source_txn="txn-a")
    assert verdicts(decided(one, other, other)) == ["credited", "already_claimed", "duplicate"]


@pytest.mark.parametrize(
    ("subject", "verdict"),
    [
        ({}, "credited"),
        ({"subject_type": "person"}, "credited"),
        ({"subject_type": "household"}, "recorded_only"),
    ],
)
def test_who_earns_nothing_still_takes_the_claim(subject: dict, verdict: str) -> None:
    one, other = ridden(1_000, "a", **subject), ridden(1_000, "b", source_txn="txn-a")
    assert verdicts(decided(one, other)) == [verdict, "already_claimed"]


def test_an_id_counts_once_whatever_its_behaviour_and_a_behaviour_whatever_its_id() -> None:
    """Each of the four members alone makes a usual report one that is not credited."""
    same_id = ridden(1_000, "a"), ridden(2_000, "a", source_txn="another")
    assert verdicts(decided(*same_id)) == ["credited", "duplicate"]
    for days in (-1, 0, 1):
        at = NOON - 3 * DAY
        same_trip = ridden(1_000, "a", at=at), ridden(1_000, "b", at=at + days * DAY, source_txn="txn-a")
        assert verdicts(decided(*same_trip)) == ["credited", "already_claimed"], days
    assert verdicts(decided(ridden(1_000, "a"), ridden(1_000, "b"))) == ["credited", "credited"]
    assert verdicts(decided(ridden(1_000, source_txn=None))) == ["activity_invalid"]
