"""What becomes of one person's reports of one round, which depends on the order in which they arrive.

A report is [app, report_id, claim, day, reduction in mg, whether it earns points]; a claim is the methodology
and the operator's transaction, a day its ordinal number. 1 g is 1 point, so that 1 mg is 1/1000 point.
"""

import sys
from collections import defaultdict


def in_order(reports, room_milli):
    """(verdict, reduction in mg, points in 1/1000) of each report, if they arrive in this order.

    `room_milli`: what the cap still leaves of each day. None of the claims was taken before.
    """
    room_milli, taken, settled = dict(room_milli), set(), []
    for _, _, claim, day, reduction_mg, earns in reports:
        if any((claim, near) in taken for near in (day - 1, day, day + 1)):
            settled.append(("already_claimed", 0, 0))
            continue
        taken.add((claim, day))
        points = min(reduction_mg, room_milli[day]) if earns else 0
        room_milli[day] -= points
        short = "credited_in_part" if points else "cap_reached"
        verdict = ("credited" if points == reduction_mg else short) if earns else "recorded_only"
        settled.append((verdict, reduction_mg, points))
    return settled


def races(reports, room_milli):
    """Over what apps race in this round: "claim", "cap", both or nothing. The person's sum is certain."""
    found = {"claim": _claims_meet(reports), "cap": _cap_binds(reports, room_milli)}
    return [over for over, is_raced in found.items() if is_raced]


def _claims_meet(reports):
    """Whether two apps report one trip. Exits if the person's sum then depends on which of them is first."""
    of_claim = defaultdict(list)
    for report in reports:
        of_claim[report[2]].append(report)
    raced = [rivals for rivals in of_claim.values() if len({app for app, *_ in rivals}) > 1]
    for rivals in raced:
        if len({tuple(worth) for _, _, *worth in rivals}) > 1:
            sys.exit(f"oracle: {rivals}: not one trip for all apps at once: no sum is certain")
    return bool(raced)


def _cap_binds(reports, room_milli):
    """Whether a day's cap leaves something for several apps, but not enough."""
    for day, room in dict(room_milli).items():
        earning = [r for r in reports if r[3] == day and r[5]]
        wanted = {claim: reduction_mg for _, _, claim, _, reduction_mg, _ in earning}
        is_split = len(wanted) > 1 and len({app for app, *_ in earning}) > 1
        if is_split and 0 < room < sum(wanted.values()):
            return True
    return False
