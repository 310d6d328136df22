"""The rows of one cycle, decided in order: what is the same for many is found once, what is unusual is judged
one by one. Pure; the only place with the rules on reports.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from msgspec import UNSET

from schemas.kinds import Command
from schemas.kinds.app import App
from schemas.limits import FUTURE_TOLERANCE_MS
from schemas.refusal import Refusal
from schemas.rules import floor_ratio
from schemas.shards import shards_of
from schemas.state import Head, Person
from schemas.topics import app_of
from schemas.verdicts import REMEMBERS_ID, TELLS_BALANCE, Verdict
from stream.core.cycle_input import Cycle
from stream.core.kinds import COMMAND_KINDS
from stream.core.kinds.command_kind import Circumstances, Clock
from stream.core.platform import Platform
from stream.core.read import Reading
from stream.core.record_rows import Decided, Lost
from stream.core.terms import NOT_ACTIVE, Terms, terms_of

# Plain integers: what an IntEnum does in Python code costs 0.3 us a use, five times a record.
_CREDITED, _CREDITED_IN_PART = int(Verdict.CREDITED), int(Verdict.CREDITED_IN_PART)
_CAP_REACHED, _RECORDED_ONLY = int(Verdict.CAP_REACHED), int(Verdict.RECORDED_ONLY)


class Account:
    """A person's running figures within one cycle."""

    __slots__ = ("balance_milli", "used_caps")

    def __init__(self, person: Person) -> None:
        self.balance_milli = person.balance_milli()
        self.used_caps = dict(person.used_caps)


class _Case(NamedTuple):
    """What is the same for all reports of one source, methodology, day, unit and region.

    `terms` is a refusal where none of them can be credited; no amount lies between `least` and `most` then.
    """

    terms: Terms | Refusal
    least: int
    most: int


class Desk:
    """Decides the rows of one cycle in order; holds what earlier rows of the cycle changed."""

    def __init__(
        self,
        platform: Platform,
        head: Head,
        cycle: Cycle,
        reading: Reading,
        accounts: dict[str, Account],
        seen: set[int],
        today: int,
    ) -> None:
        self.platform, self.rules = platform, platform.rules
        self.head, self.cycle, self.reading = head, cycle, reading
        self.reports, self.members = reading.reports, reading.members
        self.accounts, self.today = accounts, today
        self.known = seen.copy()
        # What a command, which ends its cycle, changes beside its row.
        self.lost: tuple[Lost, ...] = ()
        self.clock = Clock(cycle.time_ms[-1], head.clock_offset_ms)
        self.apps: list[App | None] = [head.apps.get(app_of(span.topic)) for span in cycle.sources]
        self.source = cycle.source
        if reading.replay:  # a record of its app, wherever it stands
            self.apps.append(head.apps.get(app_of(reading.replay.topic)))
            self.source = [*cycle.source[:-1], len(cycle.sources)]
        self._terms: dict[tuple[int, str, int], Terms | Refusal] = {}
        self._cases: dict[tuple[int, str, int, str, str], _Case] = {}
        reported = [i for i, uid in enumerate(self.reports.uid) if uid]
        right = shards_of([self.reports.uid[i] for i in reported], platform.shards)
        self.misrouted = {i: to for i, to in zip(reported, right, strict=True) if to != cycle.shard}
        ahead = np.array(self.reports.occurred_ms) > np.array(cycle.time_ms) + FUTURE_TOLERANCE_MS
        self.ahead = set(np.flatnonzero(ahead).tolist())

    def rows(self) -> Iterator[Decided]:
        """The decision on each record of the cycle (columns `DECIDED`), in order.

        Whatever is unusual in any way is judged one by one. What is not has one question left: whether its
        id or its claim is known.
        """
        reading, reports, known = self.reading, self.reports, self.known
        unusual = {*reports.refused, *reports.rare, *self.misrouted, *self.ahead}
        if reading.command:
            unusual.add(len(reading.day) - 1)
        keys = zip(self.source, reports.methodology, reading.day, reports.unit, reports.region, strict=True)
        columns = (reports.uid, reports.activity, *reading.members[:4])
        rows = zip(keys, *columns, strict=True)
        for i, (key, uid, amount, member, claim, claim_before, claim_after) in enumerate(rows):
            if i in unusual:
                yield self._unusual(i)
                continue
            terms, least, most = self._cases.get(key) or self._find_case(key)
            if (
                isinstance(terms, Terms)
                and least <= amount <= most
                and claim
                and member not in known
                and claim not in known
                and claim_before not in known
                and claim_after not in known
            ):
                known.add(member)
                known.add(claim)
                yield _credit(terms, amount, key[2], self.accounts[uid])
            else:
                yield self._unusual(i)

    def _unusual(self, i: int) -> Decided:
        """The decision on one record, and its effect on later rows."""
        reports = self.reports
        if self.reading.command and i == len(reports.uid) - 1:
            return self._obey(self.reading.command)
        if i in reports.refused:
            return _row(*reports.refused[i])
        account = self.accounts[reports.uid[i]]
        found = self._judge(i)
        if isinstance(found, Terms):
            self.known.add(self.members.id[i])
            self.known.add(self.members.claim[i])
            earns = i not in reports.rare or reports.rare[i].subject_type in (UNSET, "person")
            return _credit(found, reports.activity[i], self.reading.day[i], account, earns)
        if found.verdict in REMEMBERS_ID:
            self.known.add(self.members.id[i])
        return _row(*found, account.balance_milli if found.verdict in TELLS_BALANCE else 0)

    def _obey(self, command: Command) -> Decided:
        """The row of the command that ends the cycle."""
        met = Circumstances(self.head, self.cycle, self.platform.simulated_clock)
        obeyed = COMMAND_KINDS[type(command)].obey(command, met)
        self.lost, self.clock = obeyed.lost, obeyed.clock or self.clock
        return _row(obeyed.verdict, obeyed.detail)

    def _judge(self, i: int) -> Terms | Refusal:
        """The first verdict that refuses a well-formed report, in the order of schemas/verdicts.py; or on
        what terms it is credited."""
        reports, day = self.reports, self.reading.day[i]
        terms = self._terms_of((self.source[i], reports.methodology[i], day))
        if i in self.misrouted:
            return Refusal(
                Verdict.MISROUTED,
                f"partition: murmur2(uid) mod {self.platform.shards} is {self.misrouted[i]}; use Kafka's"
                " default partitioner with key = uid (librdkafka: partitioner=murmur2_random)",
            )
        if terms is NOT_ACTIVE:
            return terms
        if self.members.id[i] in self.known:
            return Refusal(Verdict.DUPLICATE, "")
        if i in self.ahead:
            return Refusal(Verdict.OCCURRED_IN_FUTURE, "occurred_at: more than 5 minutes ahead")
        if isinstance(terms, Refusal):
            return terms
        if i in reports.rare:
            scene = reports.rare[i].scene_id
            if scene is not UNSET and scene not in terms.app.scenes:
                return Refusal(Verdict.SCENE_NOT_GRANTED, "scene_id: not granted to this app")
        if refusal := _out_of_terms(terms, reports.unit[i], reports.activity[i], reports.region[i]):
            return refusal
        claim = self.members.claim[i]
        if not claim:
            required = ", ".join(terms.methodology.claim_key)
            return Refusal(Verdict.ACTIVITY_INVALID, f"{required}: required by {terms.methodology.id}")
        if not self.known.isdisjoint((claim, self.members.claim_before[i], self.members.claim_after[i])):
            return Refusal(Verdict.ALREADY_CLAIMED, "this behaviour was credited under another report_id")
        return terms

    def _terms_of(self, key: tuple[int, str, int]) -> Terms | Refusal:
        terms = self._terms.get(key)
        if terms is None:
            source, methodology_id, day = key
            terms = terms_of(self.rules, self.apps[source], methodology_id, day, self.today)
            self._terms[key] = terms
        return terms

    def _find_case(self, key: tuple[int, str, int, str, str]) -> _Case:
        source, methodology_id, day, unit, region = key
        terms = self._terms_of((source, methodology_id, day))
        case = _Case(terms, 1, 0)
        if isinstance(terms, Terms):
            methodology = terms.methodology
            least, most = methodology.activity_min, methodology.activity_max
            if not _out_of_terms(terms, unit, least, region):
                case = _Case(terms, least, most)
        self._cases[key] = case
        return case


def _out_of_terms(terms: Terms, unit: str, amount: int, region: str) -> Refusal | None:
    """Why the methodology does not take what was reported, if so."""
    methodology = terms.methodology
    if region and not region.startswith(methodology.region_prefix):
        return Refusal(Verdict.OUT_OF_REGION, f"region: must begin with {methodology.region_prefix}")
    if unit != methodology.unit:
        return Refusal(Verdict.ACTIVITY_INVALID, f"activity: {methodology.id} takes {methodology.unit}")
    if not methodology.activity_min <= amount <= methodology.activity_max:
        bounds = f"{methodology.activity_min} to {methodology.activity_max}"
        return Refusal(Verdict.ACTIVITY_INVALID, f"activity.{methodology.unit}: {bounds}")
    return None


def _row(verdict: Verdict, detail: str, balance_milli: int = 0) -> Decided:
    """A row that credits nothing."""
    return (int(verdict), detail, balance_milli, 0, 0, 0, 0, 0)


def _credit(terms: Terms, amount: int, day: int, account: Account, earns: bool = True) -> Decided:
    """A valid report: its reduction is always recorded; its points are cut by the day's cap."""
    reduction_mg = floor_ratio(amount, *terms.factor)
    points_milli = floor_ratio(reduction_mg, *terms.rate)
    used_milli = account.used_caps.get(day, 0)
    verdict = _CREDITED
    if not earns:
        verdict, points_milli = _RECORDED_ONLY, 0
    elif used_milli >= terms.cap_milli:
        verdict, points_milli = _CAP_REACHED, 0
    elif used_milli + points_milli > terms.cap_milli:
        verdict, points_milli = _CREDITED_IN_PART, terms.cap_milli - used_milli
    if points_milli:
        account.used_caps[day] = used_milli + points_milli
        account.balance_milli += points_milli
    return (
        verdict,
        "",
        account.balance_milli,
        terms.methodology.version,
        terms.exchange_version,
        reduction_mg,
        points_milli,
        terms.expiry_day if points_milli else 0,
    )
