"""What a report is worth, or why nothing, as far as app, methodology and day alone decide it. Pure."""

from typing import NamedTuple

from schemas.codec import Refusal
from schemas.command import App
from schemas.limits import LATE_WINDOW_DAYS
from schemas.rules import Methodology, Rules, expiry_day, ratio
from schemas.verdicts import Verdict


class Terms(NamedTuple):
    """What one app's report under one methodology is worth on one behaviour day, issued today."""

    app_active: bool
    refusal: Refusal | None
    methodology: Methodology | None = None
    factor: tuple[int, int] = (0, 1)  # mg per unit
    rate: tuple[int, int] = (0, 1)  # points_milli per mg
    exchange_version: int = 0
    cap_milli: int = 0
    expiry_day: int = 0


def terms_of(rules: Rules, app: App | None, methodology_id: str, day: int, today: int) -> Terms:
    """The terms of an app's reports under one methodology about behaviours of `day`, issued `today`."""
    if app is None or not app.active:
        return Terms(False, None)
    if not rules.valid_from_day <= day <= rules.valid_to_day:
        return Terms(
            True, Refusal(Verdict.OUTSIDE_VALIDITY, "occurred_at: outside the regulation's validity")
        )
    if day < today - LATE_WINDOW_DAYS:
        return Terms(True, Refusal(Verdict.TOO_LATE, f"occurred_at: more than {LATE_WINDOW_DAYS} days past"))
    if methodology_id not in rules.methodologies or methodology_id not in app.methodologies:
        return Terms(True, Refusal(Verdict.METHODOLOGY_UNKNOWN, "methodology: unknown, or not granted"))
    methodology, exchange = rules.methodology_on(methodology_id, day), rules.exchange_on(day)
    if methodology is None or exchange is None:
        return Terms(True, Refusal(Verdict.METHODOLOGY_NOT_IN_FORCE, "methodology: not in force that day"))
    return Terms(
        True,
        None,
        methodology,
        ratio(methodology.factor_mg_per_unit),
        ratio(exchange.points_per_g),  # points per g = points_milli per mg
        exchange.version,
        exchange.daily_cap_points * 1_000,
        expiry_day(today, exchange.validity_months, exchange.expires),
    )
