"""Follows the oracle's races in the order in which their reports arrived."""

from collections import Counter
from collections.abc import Iterable

from loadtest.demo.app_client import Outcome
from loadtest.demo.figures import Figures

_CREDITS = ("credited", "credited_in_part", "cap_reached")


def settled(predicted: dict, outcomes: Iterable[Outcome]) -> Figures:
    """The oracle's prediction with every race settled.

    Only the order is taken from the outcomes (it is the ledger's); verdicts and points follow from the order
    and the cap, and are then compared like all others.
    """
    verdicts = Counter({(app, verdict): count for app, verdict, count in predicted["verdicts"]})
    points_milli = Counter(predicted["points_milli"])
    raced = {(app, report_id) for race in predicted["races"] for app, report_id, _ in race["reports"]}
    arrived = {
        (o.app, o.report_id): o.place
        for o in outcomes
        if (o.app, o.report_id) in raced and o.verdict in _CREDITS
    }
    never = (1 << 62,)
    for race in predicted["races"]:
        room_milli = race["room_milli"]
        for app, _, points in sorted(race["reports"], key=lambda r: arrived.get((r[0], r[1]), never)):
            given = min(points, room_milli)
            room_milli -= given
            verdicts[
                app, "credited" if given == points else "credited_in_part" if given else "cap_reached"
            ] += 1
            points_milli[app] += given
    return Figures(predicted["persons"], verdicts, Counter(predicted["reduction_mg"]), points_milli)
