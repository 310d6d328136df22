"""On what terms a report is credited: each boundary of app, validity, lateness and force, from both sides."""

import datetime as dt

import msgspec
import pytest

from schemas.kinds.app import App
from schemas.limits import LATE_WINDOW_DAYS
from schemas.refusal import Refusal
from schemas.report import date_of_day, day_of_date
from schemas.rules import PACKAGED, Bundle, Exchange, Methodology, Rules, load_rules
from schemas.verdicts import Verdict
from stream.core.terms import Terms, terms_of
from tests.making import APPS, TODAY, rules

METRO, DAY = "SZ-METRO", dt.timedelta(days=1)
BASE = load_rules(PACKAGED)
ALWAYS = msgspec.structs.replace(BASE.bundle, valid_from=dt.date(2000, 1, 1), valid_to=dt.date(2100, 1, 1))
OTHERS = msgspec.structs.replace(APPS["metro"], methodologies=[METRO, "SZ-NEW"])


def found(
    day: int = TODAY,
    today: int = TODAY,
    app: App | None = APPS["metro"],
    of: str = METRO,
    by: Rules | None = None,
) -> str:
    """The verdict, or "terms"."""
    terms = terms_of(by or rules(), app, of, day, today)
    return terms.verdict.name if isinstance(terms, Refusal) else "terms"


def versions(*changes: dict, of: Methodology | Exchange) -> list:
    return [msgspec.structs.replace(of, version=n + 1, **change) for n, change in enumerate(changes)]


def ruled(
    bundle: Bundle = ALWAYS, methodologies: list[Methodology] | None = None, exchanges: list | None = None
) -> Rules:
    """The packaged rules, with other versions of metro's methodology or of the exchange."""
    return Rules(bundle, methodologies or BASE.methodologies[METRO], exchanges or BASE.exchanges)


def test_an_app_must_be_registered_and_active() -> None:
    assert found() == "terms"
    assert found(app=None) == "APP_NOT_ACTIVE"
    assert found(app=msgspec.structs.replace(APPS["metro"], active=False)) == "APP_NOT_ACTIVE"


def test_the_regulation_s_first_and_last_day_are_of_its_validity() -> None:
    first, last = rules().valid_from_day, rules().valid_to_day
    assert found(first, first) == found(last, last) == "terms"
    assert found(first - 1, first) == found(last + 1, last + 1) == "OUTSIDE_VALIDITY"


def test_what_is_out_of_validity_is_so_whatever_else_it_is() -> None:
    first = rules().valid_from_day
    assert found(first - 1, first + 100) == "OUTSIDE_VALIDITY"


def test_the_late_window_s_last_day_is_in_time() -> None:
    assert found(TODAY - LATE_WINDOW_DAYS) == "terms"
    assert found(TODAY - LATE_WINDOW_DAYS - 1) == "TOO_LATE"


def test_a_methodology_must_be_known_and_granted() -> None:
    assert found(of="SZ-BUS-BEV") == "METHODOLOGY_UNKNOWN", "known, but not granted to this app"
    assert found(of="SZ-NEW", app=OTHERS) == "METHODOLOGY_UNKNOWN", "granted, but known to nobody here"
    assert found(of=METRO, app=OTHERS) == "terms"


@pytest.mark.parametrize("kind", ["methodology", "exchange"])
def test_the_first_and_last_day_in_force_count_and_those_beside_them_do_not(kind: str) -> None:
    first, last = date_of_day(TODAY - 3), date_of_day(TODAY - 1)
    metro, exchange = BASE.methodologies[METRO][0], BASE.exchanges[0]
    if kind == "methodology":
        by = ruled(methodologies=versions({"in_force_from": first, "in_force_to": last}, of=metro))
    else:
        by = ruled(exchanges=versions({"effective_from": first, "effective_to": last}, of=exchange))
    days = {day: found(TODAY + day, by=by) for day in range(-4, 1)}
    inside = dict.fromkeys((-3, -2, -1), "terms")
    assert days == {-4: "METHODOLOGY_NOT_IN_FORCE"} | inside | {0: "METHODOLOGY_NOT_IN_FORCE"}


def test_both_rules_are_those_of_the_behaviour_s_day_and_validity_is_of_the_day_of_issue() -> None:
    """Not those in force today, on the boundary between two versions."""
    turn = date_of_day(TODAY - 1)
    methodologies = versions(
        {"factor_mg_per_unit": "1", "in_force_to": turn - DAY},
        {"factor_mg_per_unit": "2", "in_force_from": turn},
        of=BASE.methodologies[METRO][0],
    )
    exchanges = versions(
        {"daily_cap_points": 1, "effective_to": turn - DAY, "validity_months": 1},
        {"daily_cap_points": 2, "effective_from": turn, "validity_months": 2, "points_per_g": "3"},
        of=BASE.exchanges[0],
    )
    by = ruled(methodologies=methodologies, exchanges=exchanges)
    before, after = (terms_of(by, APPS["metro"], METRO, TODAY + day, TODAY) for day in (-2, -1))
    assert isinstance(before, Terms)
    assert isinstance(after, Terms)
    assert before[1:] == (methodologies[0], (1, 1), (1, 1), 1, 1_000, day_of_date(dt.date(2024, 10, 31)))
    assert after[1:] == (methodologies[1], (2, 1), (3, 1), 2, 2_000, day_of_date(dt.date(2024, 11, 30)))


def test_a_verdict_s_place_is_that_of_its_table() -> None:
    """What is wrong in every way is told of the first: see schemas/verdicts.py."""
    wrong = [
        found(day=0, app=None, of="SZ-NEW"),
        found(day=0, of="SZ-NEW"),
        found(day=TODAY - 99, of="SZ-NEW"),
        found(of="SZ-NEW"),
    ]
    assert wrong == ["APP_NOT_ACTIVE", "OUTSIDE_VALIDITY", "TOO_LATE", "METHODOLOGY_UNKNOWN"]
    assert [Verdict[name] for name in wrong] == sorted(Verdict[name] for name in wrong)
