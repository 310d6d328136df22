"""Taps to records: all that the apps send on one Saturday, the same in every run, and its manifest.

The manifest says what was sent, never what should become of it.
"""

import datetime as dt
import random
from pathlib import Path
from typing import NamedTuple

import orjson

from loadtest.demo.faults import (
    AFTER,
    BEFORE,
    INSTEAD,
    LATER_AFTER,
    LATER_INSTEAD,
    SHARES_OF,
    Case,
)
from loadtest.demo.reports import Behaviour, encode, honest_report, person_of, simulated_clock
from loadtest.demo.ridecode import APP as RIDECODE
from loadtest.demo.ridecode import Way, ways
from schemas.shards import shards_of

SEED = "points demo"
HONEST = "report"
RACE_RECORDS = 300  # so many records at most are sent between two apps' reports of one trip at once
_FAULTS = BEFORE | INSTEAD | AFTER | LATER_INSTEAD | LATER_AFTER


class Record(NamedTuple):
    """One record as an app sends it. `partition` is None where the producer's partitioner chooses."""

    app: str
    kind: str
    line: int  # of the tap in its file
    uid: str
    partition: int | None
    value: bytes


_Placed = tuple[float, Record]


class Saturday(NamedTuple):
    """One replayed Saturday: its date, the platform's simulated time, and what is sent, in that order.

    A round begins when every record of the round before has its outcome.
    """

    date: dt.date
    clock: dt.datetime
    rounds: list[list[Record]]

    def count(self, app: str = "") -> int:
        """The number of records, of all apps or of one."""
        return sum(app in ("", record.app) for sent in self.rounds for record in sent)


def saturday_of(
    behaviours: list[Behaviour], date: dt.date, shards: int, *, is_first: bool, is_last: bool
) -> Saturday:
    """What is sent on a Saturday; the first has no Saturday before it, the last keeps nothing back."""
    clock = simulated_clock(date, behaviours)
    rng, rng_of_race = random.Random(f"{SEED} order {date}"), random.Random(f"{SEED} race {date}")
    end = len(behaviours)
    first: list[_Placed] = []
    second: list[_Placed] = []
    kinds = _kinds(behaviours, date)
    for index, (behaviour, kind, way) in enumerate(
        zip(behaviours, kinds, ways(behaviours, date, kinds, SEED), strict=True)
    ):
        case = Case(behaviour, date, clock)
        own = second if way is Way.BEFORE else first
        if kind in BEFORE:
            own.append((index - 0.5, _spoilt(case, kind, shards)))
        if kind in INSTEAD:
            own.append((index, _spoilt(case, kind, shards)))
        elif kind not in LATER_INSTEAD or is_last:
            value = encode(honest_report(behaviour, date))
            own.append((index, _record(behaviour, HONEST, None, value)))
        if kind in AFTER:
            own.append((rng.uniform(index, end), _spoilt(case, kind, shards)))
        if way:
            placed = second if way is Way.AFTER else first
            place = index + rng_of_race.uniform(-RACE_RECORDS, RACE_RECORDS)
            placed.append((place, _by_ridecode(behaviour, way, date)))
    if not is_first:
        late = _a_week_late(behaviours, date - dt.timedelta(weeks=1), shards)
        first.extend((rng.uniform(0, end), record) for record in late)
    rounds = [[record for _, record in sorted(placed, key=_place)] for placed in (first, second)]
    return Saturday(date, clock, [sent for sent in rounds if sent])


def _place(placed: _Placed) -> float:
    return placed[0]


def _kinds(behaviours: list[Behaviour], date: dt.date) -> list[str]:
    """One kind of fault for each behaviour of a Saturday, `HONEST` for nearly all."""
    rng = random.Random(f"{SEED} kinds {date}")
    kinds = [kind for kind, fault in _FAULTS.items() for _ in range(fault.share)]
    draws = (rng.randrange(SHARES_OF) for _ in behaviours)
    return [kinds[draw] if draw < len(kinds) else HONEST for draw in draws]


def _a_week_late(behaviours: list[Behaviour], date: dt.date, shards: int) -> list[Record]:
    clock = simulated_clock(date, behaviours)
    return [
        _spoilt(Case(behaviour, date, clock), kind, shards)
        for behaviour, kind in zip(behaviours, _kinds(behaviours, date), strict=True)
        if kind in LATER_INSTEAD or kind in LATER_AFTER
    ]


def _spoilt(case: Case, kind: str, shards: int) -> Record:
    partition = None
    if kind == "misrouted" and shards > 1:
        [right] = shards_of([person_of(case.behaviour.tap.card_no)], shards)
        partition = (right + 1) % shards
    return _record(case.behaviour, kind, partition, _FAULTS[kind].make(case))


def _record(behaviour: Behaviour, kind: str, partition: int | None, value: bytes) -> Record:
    return Record(behaviour.app, kind, behaviour.tap.line, person_of(behaviour.tap.card_no), partition, value)


def _by_ridecode(behaviour: Behaviour, way: Way, date: dt.date) -> Record:
    value = encode(honest_report(behaviour, date, RIDECODE))
    return _record(behaviour, way, None, value)._replace(app=RIDECODE)


class Manifest:
    """The run's manifest: one JSON object a line; the run, then each Saturday's clock and its records, with a
    line between two rounds."""

    def __init__(self, path: Path, shards: int) -> None:
        self._path = path
        path.write_bytes(_line({"kind": "run", "version": 1, "seed": SEED, "shards": shards}))

    def add(self, saturday: Saturday) -> None:
        """Writes down everything that is sent on a Saturday."""
        date = saturday.date.isoformat()
        with self._path.open("ab") as file:
            file.write(_line({"kind": "clock", "saturday": date, "at": saturday.clock.isoformat()}))
            for number, sent in enumerate(saturday.rounds):
                if number:
                    file.write(_line({"kind": "answered"}))
                file.writelines(
                    _line(record._asdict() | {"saturday": date, "value": record.value.decode()})
                    for record in sent
                )


def _line(fields: dict) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
