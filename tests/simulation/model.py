"""The reference model: what a correct platform answers, in plain Python, sharing no code with the pipeline.

It is told the order in which records were decided, which is the ledger's to choose, and the shard's time
at each;
everything else it works out by itself: verdicts, amounts, balances, expiries, what is remembered.
"""

import calendar
import datetime as dt
from typing import NamedTuple

from tests.simulation.traffic import ACTIVITY_MAX, CAP_MILLI, METHODS, REGION, VALIDITY_MONTHS, Intent

DAY_MS = 86_400_000
FIRST_DAY, LAST_DAY = dt.date(2022, 8, 18), dt.date(2027, 8, 17)
LATE_DAYS, FUTURE_MS = 9, 300_000


class Answer(NamedTuple):
    """What a row must say."""

    verdict: str
    uid: str = ""
    reduction_mg: int = 0
    points_milli: int = 0
    expires: dt.date | None = None
    balance_milli: int = 0


def date_of(ms: int) -> dt.date:
    """The Shanghai date of an instant."""
    return (dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=ms, hours=8)).date()


def month_later(day: dt.date) -> dt.date:
    """The same day of a later month, or that month's last day."""
    index = day.year * 12 + day.month - 1 + VALIDITY_MONTHS
    year, month = index // 12, index % 12 + 1
    return dt.date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


class Record(NamedTuple):
    """A row of the ledger that belongs to a record: where it stood, what was meant, the shard's time."""

    topic: str
    topic_id: str
    offset: int
    intent: Intent
    time_ms: int


class ShardModel:
    """One shard as it must be."""

    def __init__(self, commands: tuple[str, int]) -> None:
        self.lots: dict[str, dict[dt.date, int]] = {}
        self.used: dict[tuple[str, dt.date], int] = {}
        self.ids: dict[tuple[str, str], dt.date] = {}
        self.claims: set[tuple[str, str, str, dt.date]] = set()
        self.reported = False  # whether any app's record was decided
        self.active: dict[str, bool] = {}  # by topic
        self.sources = {"commands": commands}  # by topic: its id, and the offset that is due
        self.lost: list[Answer] = []
        self.format = 1

    def balance(self, uid: str) -> int:
        return sum(self.lots.get(uid, {}).values())

    def block(self, records: list[Record]) -> list[Answer]:
        """The rows of one block; expiries of the persons touched, then what was lost, then one a record."""
        answers = []
        today = date_of(records[0].time_ms)
        for uid in dict.fromkeys(r.intent.uid for r in records if r.intent.uid):
            for expires in sorted(self.lots.get(uid, {})):
                if expires < today:
                    points_milli = self.lots[uid].pop(expires)
                    answers.append(Answer("expired", uid, 0, -points_milli, expires, self.balance(uid)))
        self.lost = []
        said = []
        for record in records:
            said.append(self._record(record, today))
            self._position(record)
        answers += self.lost + said
        last, end_ms = records[-1].intent, records[-1].time_ms
        if last.kind == "clock" and answers[-1].verdict == "command_applied":
            end_ms = last.at_ms
        self._forget(date_of(end_ms) - dt.timedelta(LATE_DAYS + 1))
        return answers

    def _forget(self, oldest: dt.date) -> None:
        """What is too late for ever need not be remembered."""
        self.ids = {key: day for key, day in self.ids.items() if day >= oldest}
        self.claims = {claim for claim in self.claims if claim[3] >= oldest}

    def _position(self, record: Record) -> None:
        """A record of the source moves it; one of another topic of that name does not."""
        if self.sources[record.topic][0] == record.topic_id:
            self.sources[record.topic] = (record.topic_id, record.offset + record.intent.offsets)

    def _adopt(self, intent: Intent) -> Answer:
        if intent.topic not in self.sources:
            return Answer("forbidden_operation")
        topic_id, due = self.sources[intent.topic]
        if topic_id == intent.topic_id and intent.first < due:
            return Answer("forbidden_operation")
        if (topic_id, due) != (intent.topic_id, intent.first):
            self.lost.append(Answer("deleted_unread"))
            self.reported = self.reported or intent.topic != "commands"  # nobody knows what was lost
        if topic_id != intent.topic_id and intent.first:
            self.lost.append(Answer("deleted_unread"))
        self.sources[intent.topic] = (intent.topic_id, intent.first)
        return Answer("command_applied")

    def _record(self, record: Record, today: dt.date) -> Answer:
        topic, intent, time_ms = record.topic, record.intent, record.time_ms
        first = not self.reported
        self.reported = self.reported or topic != "commands"
        if intent.kind == "unreadable":
            return Answer("unreadable_batch")
        if intent.kind == "app":
            self.active[f"intake.{intent.app}"] = intent.active
            self.sources.setdefault(f"intake.{intent.app}", (intent.topic_id, 0))
            return Answer("command_applied")
        if intent.kind == "adopt":
            return self._adopt(intent)
        if intent.kind == "clock":
            return Answer("command_applied" if intent.at_ms >= time_ms or first else "forbidden_operation")
        if intent.kind == "dismiss":
            return Answer("command_applied")
        if intent.kind in ("format", "pause", "names pause"):
            return self._of_the_next_release(intent)
        if intent.kind == "tampered" or (intent.kind == "replay" and intent.topic not in self.active):
            return Answer("forbidden_operation")
        if intent.kind == "replay":  # as the app's record that it is, but at this row
            return self._answer(intent.topic, intent.of, time_ms, today)
        return self._answer(topic, intent, time_ms, today)

    def _of_the_next_release(self, intent: Intent) -> Answer:
        """Its kind of record is one once its format is in force, and that never falls."""
        if intent.kind == "format" and intent.first < self.format:
            return Answer("forbidden_operation")
        if intent.kind == "format":
            self.format = intent.first
        elif self.format == 1:
            return Answer("malformed")
        elif intent.kind == "names pause":
            return Answer("forbidden_operation")
        else:
            self.active = dict.fromkeys(self.active, False)
        return Answer("command_applied")

    def _answer(self, topic: str, intent: Intent, time_ms: int, today: dt.date) -> Answer:
        if intent.kind == "rubbish":
            return Answer("malformed")
        verdict = self._verdict(topic, intent, time_ms, today)
        reduction = points = 0
        expires = None
        if verdict is None:
            verdict, reduction, points = self._credit(intent)
            self.claims.add((intent.uid, intent.methodology, intent.txn, date_of(intent.occurred_ms)))
        if verdict not in (
            "app_not_active",
            "duplicate",
            "occurred_in_future",
            "outside_validity",
            "too_late",
        ):
            self.ids[topic, intent.report_id] = date_of(intent.occurred_ms)
        if points:
            expires = month_later(today)
            lots = self.lots.setdefault(intent.uid, {})
            lots[expires] = lots.get(expires, 0) + points
        if verdict == "app_not_active":
            return Answer(verdict)  # before `duplicate` no person is kept, and nothing is told
        return Answer(verdict, intent.uid, reduction, points, expires, self.balance(intent.uid))

    def _verdict(self, topic: str, intent: Intent, time_ms: int, today: dt.date) -> str | None:
        day = date_of(intent.occurred_ms)
        if not self.active.get(topic):
            return "app_not_active"
        if (topic, intent.report_id) in self.ids:
            return "duplicate"
        if intent.occurred_ms > time_ms + FUTURE_MS:
            return "occurred_in_future"
        if not FIRST_DAY <= day <= LAST_DAY:
            return "outside_validity"
        if (today - day).days > LATE_DAYS:
            return "too_late"
        if intent.methodology not in METHODS:
            return "methodology_unknown"
        if intent.region and not intent.region.startswith(REGION):
            return "out_of_region"
        if not 1 <= intent.amount <= ACTIVITY_MAX:
            return "activity_invalid"
        near = [day + dt.timedelta(days) for days in (-1, 0, 1)]
        if any((intent.uid, intent.methodology, intent.txn, d) in self.claims for d in near):
            return "already_claimed"
        return None

    def _credit(self, intent: Intent) -> tuple[str, int, int]:
        numerator, denominator = METHODS[intent.methodology]
        reduction = intent.amount * numerator // denominator
        if intent.is_household:
            return "recorded_only", reduction, 0
        key = (intent.uid, date_of(intent.occurred_ms))
        room = CAP_MILLI - self.used.get(key, 0)
        points = min(reduction, room)
        self.used[key] = self.used.get(key, 0) + points
        verdict = "credited" if points == reduction else "credited_in_part" if points else "cap_reached"
        return verdict, reduction, points
