"""The second app for a metro trip: it reports some of those that the metro app reports, too."""

import datetime as dt
import random
from enum import StrEnum

from loadtest.demo.faults import INSTEAD
from loadtest.demo.reports import Behaviour

APP = "ridecode"


class Way(StrEnum):
    """When ridecode reports a trip, beside the metro app; the kind of its record."""

    AFTER = "after_metro"
    BEFORE = "before_metro"
    AT_ONCE = "at_once"


# One trip of eight, half of them at the same time as the metro app.
_TRIPS_OF = 64
_TRIPS = [Way.AFTER] * 3 + [Way.BEFORE] + [Way.AT_ONCE] * 4


def ways(behaviours: list[Behaviour], date: dt.date, kinds: list[str], seed: str) -> list[Way | None]:
    """For each behaviour of a Saturday how ridecode reports it; None for most. `kinds`: the metro app's.

    A household earns nothing, but ridecode knows persons only. So who is first decides what the person has in
    all: such a trip is no race, as nobody could predict it.
    """
    rng = random.Random(f"{seed} ridecode {date}")
    draws = (rng.randrange(_TRIPS_OF) for _ in behaviours)
    drawn = [
        _TRIPS[draw] if behaviour.app == "metro" and draw < len(_TRIPS) else None
        for behaviour, draw in zip(behaviours, draws, strict=True)
    ]
    return [
        Way.AFTER if way is Way.AT_ONCE and kind in INSTEAD else way
        for way, kind in zip(drawn, kinds, strict=True)
    ]
