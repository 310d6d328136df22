"""What a report is worth, or why nothing, as far as app, methodology and day alone decide it. Pure."""

from typing import NamedTuple, final

from schemas.kinds.app import App
from schemas.limits import LATE_WINDOW_DAYS
from schemas.refusal import Refusal
from schemas.rules import Methodology, Rules, expiry_day, ratio
from schemas.verdicts import Verdict


@final
class Terms(NamedTuple):
    """What one app's report under one methodology is worth on one behaviour day, issued today."""

    app: App
    methodology: Methodology
    factor: tuple[int, int]  # mg per unit
    rate: tuple[int, int]  # points_milli per mg
    exchange_version: int
    cap_milli: int
    expiry_day: int


NOT_ACTIVE = Refusal(Verdict.APP_NOT_ACTIVE, "app: not registered, or suspended")


def terms_of(rules: Rules, app: App | None, methodology_id: str, day: int, today: int) -> Terms | Refusal:
    """The terms of an app's reports under one methodology about behaviours of `day`, issued `today`."""
    if app is None or not app.active:
        return NOT_ACTIVE
    if not rules.valid_from_day <= day <= rules.valid_to_day:
        return Refusal(Verdict.OUTSIDE_VALIDITY, "occurred_at: outside the regulation's validity")
    if day < today - LATE_WINDOW_DAYS:
        return Refusal(Verdict.TOO_LATE, f"occurred_at: more than {LATE_WINDOW_DAYS} days past")
    if methodology_id not in rules.methodologies or methodology_id not in app.methodologies:
        return Refusal(Verdict.METHODOLOGY_UNKNOWN, "methodology: unknown, or not granted")
    methodology, exchange = rules.methodology_on(methodology_id, day), rules.exchange_on(day)
    if methodology is None or exchange is None:
        return Refusal(Verdict.METHODOLOGY_NOT_IN_FORCE, "methodology: not in force that day")
    return Terms(
        app,
        methodology,
        ratio(methodology.factor_mg_per_unit),
        ratio(exchange.points_per_g),  # points per g = points_milli per mg
        exchange.version,
        exchange.daily_cap_points * 1_000,
        expiry_day(today, exchange.validity_months, exchange.expires),
    )
