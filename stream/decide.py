"""The decision: one cycle and the state before it -> one block. Pure; the only place with business rules.

`decide` reads no clock and does no I/O; the same arguments give the same block, byte for byte.
"""

import hashlib
from typing import NamedTuple

import orjson
from msgspec import UNSET

from schemas.block import Block, Meta, empty_columns, make_block
from schemas.codec import Refusal
from schemas.command import ClockCommand
from schemas.limits import FUTURE_TOLERANCE_MS, LATE_WINDOW_DAYS, RAW_KEPT_BYTES_MAX
from schemas.report import Report, shanghai_day, to_ms
from schemas.rules import App, Methodology, Rules, expiry_day, floor_ratio, ratio
from schemas.shards import shards_of
from schemas.state import Head, Person
from schemas.topics import app_of
from schemas.verdicts import KEEPS_RAW, REMEMBERS_ID, TAKES_CLAIM, Verdict
from stream.cycle_input import Cycle
from stream.read import Reading


class Platform(NamedTuple):
    """What holds for the life of a platform, from the genesis block, and the rules in use."""

    name: str
    shards: int
    dedupe_key: bytes
    simulated_clock: bool
    rules: Rules


class Terms(NamedTuple):
    """What one app's report under one methodology is worth on one behaviour day, issued today."""

    refusal: Refusal | None
    methodology: Methodology | None = None
    factor: tuple[int, int] = (0, 1)  # mg per unit
    rate: tuple[int, int] = (0, 1)  # points_milli per mg
    exchange_version: int = 0
    cap_milli: int = 0
    expiry_day: int = 0


class Row(NamedTuple):
    """The decided columns of one row; everything else is copied from the record."""

    verdict: Verdict
    detail: str = ""
    methodology_version: int = 0
    exchange_version: int = 0
    unit: str = ""
    activity: int = 0
    reduction_mg: int = 0
    points_milli: int = 0
    expiry_day: int = 0


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
) -> Block:
    """The block that follows `head`: expiries that are due for the persons touched, then one row a record.

    `persons`: current values of `reading.uids` (absent: a new person); `seen`: those of the looked-up members
    that are remembered; `published_to`: the ledger offset below which all outcomes are published.
    """
    today = shanghai_day(cycle.time_ms[0])
    accounts = {uid: _Account(persons[uid]) if uid in persons else _Account(Person()) for uid in reading.uids}
    columns = _expiries(persons, accounts, reading.uids, today, cycle.time_ms[0])
    desk = _Desk(platform, cycle, reading, accounts, seen, today, head.clock_offset_ms)
    rows = [desk.row(i) for i in range(len(cycle.offset))]
    _append_records(columns, cycle, reading, rows, desk.balances)
    meta = Meta(
        platform.name,
        cycle.shard,
        head.seq + 1,
        cycle.sources,
        max(cycle.time_ms[-1], cycle.broker_ms[-1] + desk.clock_offset_ms),
        desk.clock_offset_ms,
        published_to,
        platform.rules.identity,
    )
    return make_block(head.hash, meta, columns)


def _expiries(
    persons: dict[str, Person], accounts: dict[str, _Account], uids: list[str], today: int, time_ms: int
) -> dict[str, list]:
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
        cycle: Cycle,
        reading: Reading,
        accounts: dict[str, _Account],
        seen: set[int],
        today: int,
        clock_offset_ms: int,
    ) -> None:
        self.platform, self.rules = platform, platform.rules
        self.cycle, self.reading, self.accounts, self.today = cycle, reading, accounts, today
        self.known = seen.copy()
        self.clock_offset_ms = clock_offset_ms
        self.balances: list[int] = []
        self.apps: list[App | None] = [self.rules.apps.get(app_of(span.topic)) for span in cycle.sources]
        self._terms: dict[tuple[int, str, int], Terms] = {}
        reports = [i for i, item in enumerate(reading.items) if item.__class__ is Report]
        right = shards_of([reading.items[i].uid for i in reports], platform.shards)
        self.misrouted = {i: shard for i, shard in zip(reports, right, strict=True) if shard != cycle.shard}

    def row(self, i: int) -> Row:
        """The decision on record `i` of the cycle, and its effect on the rows after it."""
        item = self.reading.items[i]
        if item.__class__ is not Report:
            self.balances.append(0)
            return Row(item.verdict, item.detail) if item.__class__ is Refusal else self._command(item, i)
        refusal = self._refusal(item, i)
        account = self.accounts[item.uid]
        row = Row(refusal.verdict, refusal.detail) if refusal else self._credit(item, i, account)
        if row.verdict in REMEMBERS_ID:
            self.known.add(self.reading.id_member[i])
        if row.verdict in TAKES_CLAIM:
            self.known.add(self.reading.claim_member[i])
        self.balances.append(account.balance_milli)
        return row

    def _refusal(self, report: Report, i: int) -> Refusal | None:
        """The first verdict that refuses a well-formed report, in the order of schemas/verdicts.py."""
        if i in self.misrouted:
            return Refusal(
                Verdict.MISROUTED,
                f"partition: murmur2(uid) mod {self.platform.shards} is {self.misrouted[i]}; use Kafka's default"
                " partitioner with key = uid (librdkafka: partitioner=murmur2_random)",
            )
        if not self._active(self.apps[self.cycle.source[i]]):
            return Refusal(Verdict.APP_NOT_ACTIVE, "app: not active on this day")
        if self.reading.id_member[i] in self.known:
            return Refusal(Verdict.DUPLICATE, "")
        day = self.reading.day[i]
        if self.reading.occurred_ms[i] > self.cycle.time_ms[i] + FUTURE_TOLERANCE_MS:
            return Refusal(Verdict.OCCURRED_IN_FUTURE, "occurred_at: more than 5 minutes ahead")
        if not self.rules.valid_from_day <= day <= self.rules.valid_to_day:
            return Refusal(Verdict.OUTSIDE_VALIDITY, "occurred_at: outside the regulation's validity")
        if day < self.today - LATE_WINDOW_DAYS:
            return Refusal(Verdict.TOO_LATE, f"occurred_at: more than {LATE_WINDOW_DAYS} days past")
        terms = self._terms_of(report, i)
        if terms.refusal:
            return terms.refusal
        if report.scene_id is not UNSET and report.scene_id not in self.apps[self.cycle.source[i]].scenes:
            return Refusal(Verdict.SCENE_NOT_GRANTED, "scene_id: not granted to this app")
        if report.region is not UNSET and not report.region.startswith(terms.methodology.region_prefix):
            return Refusal(
                Verdict.OUT_OF_REGION, f"region: must begin with {terms.methodology.region_prefix}"
            )
        if fault := _activity_fault(report, terms.methodology, self.reading.claim_member[i]):
            return Refusal(Verdict.ACTIVITY_INVALID, fault)
        if self.reading.claim_member[i] in self.known:
            return Refusal(Verdict.ALREADY_CLAIMED, "this behaviour was credited under another report_id")
        return None

    def _credit(self, report: Report, i: int, account: _Account) -> Row:
        """A valid report: its reduction is always recorded; its points are cut by the day's cap."""
        terms, day = self._terms_of(report, i), self.reading.day[i]
        activity = getattr(report.activity, terms.methodology.unit)
        reduction_mg = floor_ratio(activity, *terms.factor)
        points = floor_ratio(reduction_mg, *terms.rate)
        used = account.used_caps.get(day, 0)
        verdict, expires = Verdict.CREDITED, terms.expiry_day
        if report.subject_type is not UNSET and report.subject_type != "person":
            verdict, points = Verdict.RECORDED_ONLY, 0
        elif used >= terms.cap_milli:
            verdict, points = Verdict.CAP_REACHED, 0
        elif used + points > terms.cap_milli:
            verdict, points = Verdict.CREDITED_IN_PART, terms.cap_milli - used
        if points:
            account.used_caps[day] = used + points
            account.balance_milli += points
        version, unit = terms.methodology.version, terms.methodology.unit
        return Row(
            verdict,
            "",
            version,
            terms.exchange_version,
            unit,
            activity,
            reduction_mg,
            points,
            expires if points else 0,
        )

    def _command(self, command: ClockCommand, i: int) -> Row:
        if not self.platform.simulated_clock:
            return Row(
                Verdict.FORBIDDEN_OPERATION, "clock: this platform's genesis allows no simulated clock"
            )
        offset_ms = to_ms(command.at) - self.cycle.broker_ms[i]
        if self.cycle.broker_ms[i] + offset_ms < self.cycle.time_ms[i]:
            return Row(Verdict.FORBIDDEN_OPERATION, "at: the shard's time never steps back")
        self.clock_offset_ms = offset_ms
        return Row(Verdict.COMMAND_APPLIED, f"clock_offset_ms: {offset_ms}")

    def _active(self, app: App | None) -> bool:
        return app is not None and app.active_from_day <= self.today <= app.active_to_day

    def _terms_of(self, report: Report, i: int) -> Terms:
        key = (self.cycle.source[i], report.methodology, self.reading.day[i])
        terms = self._terms.get(key)
        if terms is None:
            terms = self._terms[key] = self._find_terms(*key)
        return terms

    def _find_terms(self, source: int, methodology_id: str, day: int) -> Terms:
        if (
            methodology_id not in self.rules.methodologies
            or methodology_id not in self.apps[source].methodologies
        ):
            return Terms(
                Refusal(Verdict.METHODOLOGY_UNKNOWN, "methodology: unknown, or not granted to this app")
            )
        methodology, exchange = self.rules.methodology_on(methodology_id, day), self.rules.exchange_on(day)
        if methodology is None or exchange is None:
            return Terms(
                Refusal(Verdict.METHODOLOGY_NOT_IN_FORCE, "methodology: no version in force on that day")
            )
        return Terms(
            None,
            methodology,
            ratio(methodology.factor_mg_per_unit),
            ratio(exchange.points_per_g),  # points per g = points_milli per mg
            exchange.version,
            exchange.daily_cap_points * 1_000,
            expiry_day(self.today, exchange.validity_months, exchange.expires),
        )


def _activity_fault(report: Report, methodology: Methodology, claim_member: int) -> str | None:
    amount = getattr(report.activity, methodology.unit)
    if amount is UNSET:
        return f"activity.{methodology.unit}: required by {methodology.id}"
    given = sum(getattr(report.activity, unit) is not UNSET for unit in report.activity.__struct_fields__)
    if given != 1:
        return f"activity: {methodology.id} takes {methodology.unit} only"
    if not methodology.activity_min <= amount <= methodology.activity_max:
        return f"activity.{methodology.unit}: {methodology.activity_min} to {methodology.activity_max}"
    if not claim_member:
        return f"{', '.join(methodology.claim_key)}: required by {methodology.id}"
    return None


def _append_records(
    columns: dict[str, list], cycle: Cycle, reading: Reading, rows: list[Row], balances: list[int]
) -> None:
    """The record rows, column by column."""
    items = [item if item.__class__ is Report else None for item in reading.items]
    decided = dict(zip(Row._fields, zip(*rows, strict=True), strict=True))
    verdicts = decided["verdict"]
    for name in Row._fields:
        columns[name] += decided[name]
    columns["source"] += cycle.source
    columns["offset"] += cycle.offset
    columns["broker_ms"] += cycle.broker_ms
    columns["time_ms"] += cycle.time_ms
    columns["occurred_ms"] += reading.occurred_ms
    columns["uid"] += [r.uid if r else "" for r in items]
    columns["report_id"] += [r.report_id if r else "" for r in items]
    columns["methodology"] += [r.methodology if r else "" for r in items]
    columns["source_txn"] += [r.source_txn if r and r.source_txn is not UNSET else "" for r in items]
    columns["inputs"] += [_rare_inputs(r) if r else "" for r in items]
    columns["balance_milli"] += balances
    columns["id_member"] += [
        m if v in REMEMBERS_ID else 0 for m, v in zip(reading.id_member, verdicts, strict=True)
    ]
    columns["claim_member"] += [
        m if v in TAKES_CLAIM else 0 for m, v in zip(reading.claim_member, verdicts, strict=True)
    ]
    columns["raw"] += [
        value[:RAW_KEPT_BYTES_MAX] if v in KEEPS_RAW else b""
        for value, v in zip(cycle.value, verdicts, strict=True)
    ]


_RARE = ("region", "scene_id", "subject_type", "evidence_tier", "other_mechanism", "claimed_reduction_g")


def _rare_inputs(report: Report) -> str:
    """The inputs that few reports carry, as JSON; evidence as its hash."""
    inputs = {name: value for name in _RARE if (value := getattr(report, name)) is not UNSET}
    if report.ended_at is not UNSET:
        inputs["ended_ms"] = to_ms(report.ended_at)
    if report.evidence is not UNSET:
        inputs["evidence_sha256"] = hashlib.sha256(bytes(report.evidence)).hexdigest()
    return orjson.dumps(inputs).decode() if inputs else ""
