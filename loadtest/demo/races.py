"""Follows the oracle's races in the order in which their reports arrived."""

from collections import Counter
from collections.abc import Iterable

from loadtest.demo.app_client import Outcome
from loadtest.demo.figures import Figures
from loadtest.demo.oracle.order import in_order

_VALID = ("credited", "credited_in_part", "cap_reached", "recorded_only", "already_claimed")
_NEVER = (1 << 62,)


def settled(predicted: dict, outcomes: Iterable[Outcome]) -> Figures:
    """The oracle's prediction with every race settled.

    Only the order is taken from the outcomes (it is the ledger's); verdicts and amounts follow from the order
    by the oracle's own rules, and are then compared like all others.
    """
    verdicts = Counter({(app, verdict): count for app, verdict, count in predicted["verdicts"]})
    reduction_mg, points_milli = Counter(predicted["reduction_mg"]), Counter(predicted["points_milli"])
    raced = {(app, report_id) for race in predicted["races"] for app, report_id, *_ in race["reports"]}
    arrived = {
        (o.app, o.report_id): o.place
        for o in outcomes
        if (o.app, o.report_id) in raced and o.verdict in _VALID
    }
    for race in predicted["races"]:
        reports = sorted(race["reports"], key=lambda report: arrived.get((report[0], report[1]), _NEVER))
        followed = in_order(reports, dict(race["room_milli"]))
        for (app, *_), (verdict, more_mg, more_milli) in zip(reports, followed, strict=True):
            verdicts[app, verdict] += 1
            reduction_mg[app] += more_mg
            points_milli[app] += more_milli
    return Figures(predicted["persons"], verdicts, reduction_mg, points_milli)
