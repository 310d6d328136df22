"""The bench's load: a seeded stream of reports of two apps whose totals are known before anything is sent.

About one record in fifty repeats an earlier one, one in a hundred is malformed; all others must be credited
in full. A person has four reports: on each of two days one of the metro and one of the bus, together below
the day's cap, so that the totals do not depend on the order in which the two topics are merged.
"""

import datetime as dt
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

DUPLICATE_SHARE = 0.02
MALFORMED_SHARE = 0.01
REPORTS_PER_PERSON = 4
DISTANCES_M = (500, 12_000)
APPS = ("metro", "bus")
# The methodologies' factors, written down a second time: 46.8 and 26.9 mg a metre; 1 mg is 1/1000 point.
_FACTORS_PER_10 = np.array([468, 269])
_METHODOLOGIES = ("SZ-METRO", "SZ-BUS-BEV")
_FRESH, _DUPLICATE, _MALFORMED = 0, 1, 2
_REPORT = (
    '{"version":1,"kind":"report","uid":"%s","report_id":"%s","methodology":"%s","occurred_at":"%s",'
    '"activity":{"distance_m":%d},"source_txn":"%s","region":"440300"}'
)


class Record(NamedTuple):
    """One Kafka record, and the app that sends it."""

    app: str
    key: str
    value: bytes


class Totals(NamedTuple):
    """What must have become of all records in the end."""

    verdicts: dict[str, int]
    reduction_mg: int
    points_milli: int
    balances_milli: dict[str, int]


class Load:
    """`records` records, the same for a seed and a day but for their dates."""

    def __init__(self, records: int, seed: int, today: dt.date) -> None:
        rng = np.random.default_rng(seed)
        chance = rng.random(records)
        self._kind = np.where(chance < DUPLICATE_SHARE + MALFORMED_SHARE, _DUPLICATE, _FRESH)
        self._kind[chance < MALFORMED_SHARE] = _MALFORMED
        self._kind[0] = _FRESH  # there is something to repeat
        sent = np.cumsum(self._kind == _FRESH)  # reports up to and including each record
        self._report = np.where(self._kind == _FRESH, sent - 1, rng.integers(0, sent))
        reports = int(sent[-1])
        people = -(-reports // REPORTS_PER_PERSON)
        self._uids = [rng.bytes(16).hex() for _ in range(people)]
        number = np.arange(reports)
        self._person, turn = number % people, number // people
        self._app = (self._person + turn) % len(APPS)
        self._days_ago = 1 + turn // len(APPS)
        self._second = rng.integers(0, 86_400, reports)
        self._distance_m = rng.integers(*DISTANCES_M, reports)
        self._dates = [today - dt.timedelta(days=ago) for ago in range(1 + REPORTS_PER_PERSON // len(APPS))]

    def __len__(self) -> int:
        return len(self._kind)

    def records(self) -> Iterator[Record]:
        """All records, in the order in which they are to be sent."""
        for i, (kind, report) in enumerate(zip(self._kind.tolist(), self._report.tolist(), strict=True)):
            app, uid, text = self._text(report)
            value = text.encode()
            yield Record(app, uid, _damaged(value, i) if kind == _MALFORMED else value)

    def first_ids(self) -> Iterator[tuple[int, bytes]]:
        """The reports' ids, each with the number of the record that brings it first."""
        for i in np.flatnonzero(self._kind == _FRESH).tolist():
            yield i, self._id(self._report[i]).encode()

    def totals(self) -> Totals:
        """What must have become of all records."""
        reduction_mg = self._distance_m * _FACTORS_PER_10[self._app] // 10
        balances = np.zeros(len(self._uids), np.int64)
        np.add.at(balances, self._person, reduction_mg)
        counts = np.bincount(self._kind, minlength=3).tolist()
        total_mg = int(reduction_mg.sum())
        return Totals(
            {"credited": counts[_FRESH], "duplicate": counts[_DUPLICATE], "malformed": counts[_MALFORMED]},
            total_mg,
            total_mg,
            dict(zip(self._uids, balances.tolist(), strict=True)),
        )

    def _id(self, report: int) -> str:
        date = self._dates[self._days_ago[report]]
        return f"{date:%Y%m%d}-{int(report) * 0x9E3779B97F4A7C15 % 2**64:016x}"

    def _text(self, report: int) -> tuple[str, str, str]:
        app, uid = self._app[report], self._uids[self._person[report]]
        date = self._dates[self._days_ago[report]]
        minutes, second = divmod(int(self._second[report]), 60)
        text = _REPORT % (
            uid,
            self._id(report),
            _METHODOLOGIES[app],
            f"{date}T{minutes // 60:02}:{minutes % 60:02}:{second:02}+08:00",
            self._distance_m[report],
            f"gate-{report % 4_000:04}-{report:08}",
        )
        return APPS[app], uid, text


def _damaged(value: bytes, i: int) -> bytes:
    """A report broken in one of four ways, each of which is malformed."""
    return (
        value[:-20],
        value.replace(b'},"source_txn"', b'.5},"source_txn"'),
        value.replace(b'"region"', b'"zone"'),
        value.replace(b'"report_id":"20', b'"report_id":"19'),
    )[i % 4]
