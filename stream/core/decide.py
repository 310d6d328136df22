"""The decision: one cycle and the state before it -> one block. Pure; the only place with business rules.

`decide` reads no clock and does no I/O; the same arguments give the same block, byte for byte.
"""

from typing import NamedTuple

from msgspec import UNSET

from schemas.block import Block, Columns, Meta, empty_columns, make_block
from schemas.command import App
from schemas.kinds import Kind
from schemas.limits import FUTURE_TOLERANCE_MS
from schemas.refusal import Refusal
from schemas.report import Report, shanghai_day
from schemas.rules import Rules, floor_ratio
from schemas.shards import shards_of
from schemas.state import NO_LAGS, Head, Lag, Person
from schemas.topics import app_of
from schemas.verdicts import REMEMBERS_ID, TELLS_BALANCE, Verdict
from stream.core.cycle_input import Cycle
from stream.core.obey import Commands
from stream.core.read import Item, Reading, claim_on
from stream.core.record_rows import Decided, append_lost, append_records
from stream.core.terms import NOT_ACTIVE, Terms, terms_of


class Platform(NamedTuple):
    """What holds for the life of a platform, from the genesis block, and the rules in use."""

    name: str
    shards: int
    dedupe_key: bytes
    simulated_clock: bool
    fair_rows_s: int
    rules: Rules


# Plain integers: what an IntEnum does in Python code costs 0.3 us a use, five times a record.
_CREDITED, _CREDITED_IN_PART = int(Verdict.CREDITED), int(Verdict.CREDITED_IN_PART)
_CAP_REACHED, _RECORDED_ONLY = int(Verdict.CAP_REACHED), int(Verdict.RECORDED_ONLY)


class _Account:
    """A person's running figures within one cycle."""

    __slots__ = ("balance_milli", "used_caps")

    def __init__(self, person: Person) -> None:
        self.balance_milli = person.balance_milli()
        self.used_caps = dict(person.used_caps)


def decide(
    platform: Platform,
    head: Head,
    cycle: Cycle,
    reading: Reading,
    persons: dict[str, Person],
    seen: set[int],
    published_to: int,
    lags: dict[str, Lag] = NO_LAGS,
) -> Block:
    """The block that follows `head`: expiries that are due for the persons touched, then one row a record.

    `persons`: current values of `reading.uids` (absent: a new person); `seen`: those of the looked-up members
    that are remembered; `published_to`: the ledger offset below which all outcomes are published, but for
    `lags`.
    """
    today = shanghai_day(cycle.time_ms[0])
    if reading.replay and app_of(reading.replay.topic) not in head.apps:  # there is nobody to tell
        reading = reading._replace(items=[*reading.items[:-1], _NOBODYS], replay=None)
    accounts = {uid: _Account(persons[uid]) if uid in persons else _Account(Person()) for uid in reading.uids}
    columns = _expiries(persons, accounts, reading.uids, today, cycle.time_ms[0])
    desk = _Desk(platform, head, cycle, reading, accounts, seen, today)
    rows = [desk.row(i, item) for i, item in enumerate(reading.items)]
    sources = cycle.sources
    for lost in desk.commands.lost:
        sources = append_lost(columns, sources, lost)
    append_records(columns, cycle, reading, rows, platform.dedupe_key)
    meta = Meta(
        platform.name,
        cycle.shard,
        head.seq + 1,
        sources,
        desk.commands.end_ms,
        desk.commands.clock_offset_ms,
        published_to,
        platform.rules.identity,
        lags=lags,
    )
    return make_block(head.hash, meta, columns)


def _expiries(
    persons: dict[str, Person], accounts: dict[str, _Account], uids: list[str], today: int, time_ms: int
) -> Columns:
    """EXPIRED rows of all lots whose last valid day is past, of the persons that this cycle touches."""
    due = [
        (uid, day, points)
        for uid in uids
        if uid in persons
        for day, points in sorted(persons[uid].lots.items())
        if day < today
    ]
    columns = empty_columns(len(due))
    for i, (uid, day, points) in enumerate(due):
        accounts[uid].balance_milli -= points
        columns["kind"][i] = int(Kind.EXPIRY)
        columns["verdict"][i] = int(Verdict.EXPIRED)
        columns["source"][i] = -1
        columns["time_ms"][i] = time_ms
        columns["uid"][i] = uid
        columns["points_milli"][i] = -points
        columns["expiry_day"][i] = day
        columns["balance_milli"][i] = accounts[uid].balance_milli
    return columns


class _Desk:
    """Decides the rows of one cycle in order; holds what earlier rows of the cycle changed."""

    def __init__(
        self,
        platform: Platform,
        head: Head,
        cycle: Cycle,
        reading: Reading,
        accounts: dict[str, _Account],
        seen: set[int],
        today: int,
    ) -> None:
        self.platform, self.rules = platform, platform.rules
        self.cycle, self.reading, self.accounts, self.today = cycle, reading, accounts, today
        self.known = seen.copy()
        self.commands = Commands(head, cycle, platform.simulated_clock)
        self.apps: list[App | None] = [head.apps.get(app_of(span.topic)) for span in cycle.sources]
        self.source = cycle.source
        if reading.replay:  # a record of its app, wherever it stands
            self.apps.append(head.apps.get(app_of(reading.replay.topic)))
            self.source = [*cycle.source[:-1], len(cycle.sources)]
        self._terms: dict[tuple[int, str, int], Terms | Refusal] = {}
        reports = [(i, item.uid) for i, item in enumerate(reading.items) if isinstance(item, Report)]
        right = shards_of([uid for _, uid in reports], platform.shards)
        self.misrouted = {i: to for (i, _), to in zip(reports, right, strict=True) if to != cycle.shard}

    def row(self, i: int, item: Item) -> Decided:
        """The decision on record `i` of the cycle (columns `DECIDED`), and its effect on later rows."""
        if not isinstance(item, Report):
            return _refused(item if isinstance(item, Refusal) else self.commands.obey(item, i), 0)
        account = self.accounts[item.uid]
        found = self._judge(item, i)
        if isinstance(found, Terms):
            self.known.add(self.reading.id_member[i])
            self.known.add(self.reading.claim_member[i])
            return _credit(item, self.reading.day[i], found, account)
        if found.verdict in REMEMBERS_ID:
            self.known.add(self.reading.id_member[i])
        return _refused(found, account.balance_milli if found.verdict in TELLS_BALANCE else 0)

    def _judge(self, report: Report, i: int) -> Terms | Refusal:
        """The first verdict that refuses a well-formed report, in the order of schemas/verdicts.py; or on
        what terms it is credited."""
        key = (self.source[i], report.methodology, self.reading.day[i])
        terms = self._terms.get(key) or self._find_terms(key)
        if i in self.misrouted:
            return Refusal(
                Verdict.MISROUTED,
                f"partition: murmur2(uid) mod {self.platform.shards} is {self.misrouted[i]}; use Kafka's"
                " default partitioner with key = uid (librdkafka: partitioner=murmur2_random)",
            )
        if terms is NOT_ACTIVE:
            return terms
        if self.reading.id_member[i] in self.known:
            return Refusal(Verdict.DUPLICATE, "")
        if self.reading.occurred_ms[i] > self.cycle.time_ms[i] + FUTURE_TOLERANCE_MS:
            return Refusal(Verdict.OCCURRED_IN_FUTURE, "occurred_at: more than 5 minutes ahead")
        if isinstance(terms, Refusal):
            return terms
        methodology = terms.methodology
        if report.scene_id is not UNSET and report.scene_id not in terms.app.scenes:
            return Refusal(Verdict.SCENE_NOT_GRANTED, "scene_id: not granted to this app")
        if report.region is not UNSET and not report.region.startswith(methodology.region_prefix):
            return Refusal(Verdict.OUT_OF_REGION, f"region: must begin with {methodology.region_prefix}")
        amount = report.activity.get(methodology.unit)
        if amount is None:
            return Refusal(Verdict.ACTIVITY_INVALID, f"activity: {methodology.id} takes {methodology.unit}")
        if not methodology.activity_min <= amount <= methodology.activity_max:
            bounds = f"{methodology.activity_min} to {methodology.activity_max}"
            return Refusal(Verdict.ACTIVITY_INVALID, f"activity.{methodology.unit}: {bounds}")
        claim = self.reading.claim_member[i]
        if not claim:
            return Refusal(
                Verdict.ACTIVITY_INVALID, f"{', '.join(methodology.claim_key)}: required by {methodology.id}"
            )
        day = self.reading.day[i]
        if not self.known.isdisjoint((claim, claim_on(claim, day ^ day - 1), claim_on(claim, day ^ day + 1))):
            return Refusal(Verdict.ALREADY_CLAIMED, "this behaviour was credited under another report_id")
        return terms

    def _find_terms(self, key: tuple[int, str, int]) -> Terms | Refusal:
        source, methodology_id, day = key
        terms = self._terms[key] = terms_of(self.rules, self.apps[source], methodology_id, day, self.today)
        return terms


_NOBODYS = Refusal(Verdict.FORBIDDEN_OPERATION, "topic: no registered app's")


def _refused(refusal: Refusal, balance_milli: int) -> Decided:
    return (int(refusal.verdict), refusal.detail, balance_milli, 0, 0, 0, 0, 0)


def _credit(report: Report, day: int, terms: Terms, account: _Account) -> Decided:
    """A valid report: its reduction is always recorded; its points are cut by the day's cap."""
    methodology = terms.methodology
    reduction_mg = floor_ratio(report.activity[methodology.unit], *terms.factor)
    points = floor_ratio(reduction_mg, *terms.rate)
    used = account.used_caps.get(day, 0)
    verdict = _CREDITED
    if report.subject_type is not UNSET and report.subject_type != "person":
        verdict, points = _RECORDED_ONLY, 0
    elif used >= terms.cap_milli:
        verdict, points = _CAP_REACHED, 0
    elif used + points > terms.cap_milli:
        verdict, points = _CREDITED_IN_PART, terms.cap_milli - used
    if points:
        account.used_caps[day] = used + points
        account.balance_milli += points
    return (
        verdict,
        "",
        account.balance_milli,
        methodology.version,
        terms.exchange_version,
        reduction_mg,
        points,
        terms.expiry_day if points else 0,
    )
