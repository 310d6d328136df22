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
from schemas.report import EPOCH, Report, shanghai_day, to_ms
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

    app_active: bool
    refusal: Refusal | None
    methodology: Methodology | None = None
    factor: tuple[int, int] = (0, 1)  # mg per unit
    rate: tuple[int, int] = (0, 1)  # points_milli per mg
    exchange_version: int = 0
    cap_milli: int = 0
    expiry_day: int = 0


# The decided columns of one row, as a tuple in this order; everything else is copied from the record.
DECIDED = (
    "verdict",
    "detail",
    "balance_milli",
    "methodology_version",
    "exchange_version",
    "unit",
    "activity",
    "reduction_mg",
    "points_milli",
    "expiry_day",
)
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
) -> Block:
    """The block that follows `head`: expiries that are due for the persons touched, then one row a record.

    `persons`: current values of `reading.uids` (absent: a new person); `seen`: those of the looked-up members
    that are remembered; `published_to`: the ledger offset below which all outcomes are published.
    """
    today = shanghai_day(cycle.time_ms[0])
    accounts = {uid: _Account(persons[uid]) if uid in persons else _Account(Person()) for uid in reading.uids}
    columns = _expiries(persons, accounts, reading.uids, today, cycle.time_ms[0])
    desk = _Desk(platform, cycle, reading, accounts, seen, today, head.clock_offset_ms)
    rows = [desk.row(i, item) for i, item in enumerate(reading.items)]
    _append_records(columns, cycle, reading, rows)
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
        self.apps: list[App | None] = [self.rules.apps.get(app_of(span.topic)) for span in cycle.sources]
        self._terms: dict[tuple[int, str, int], Terms] = {}
        reports = [i for i, item in enumerate(reading.items) if item.__class__ is Report]
        right = shards_of([reading.items[i].uid for i in reports], platform.shards)
        self.misrouted = {i: shard for i, shard in zip(reports, right, strict=True) if shard != cycle.shard}

    def row(self, i: int, item: Report | Refusal | ClockCommand) -> tuple:
        """The decision on record `i` of the cycle (columns `DECIDED`), and its effect on the rows after it."""
        if item.__class__ is not Report:
            return _refused(item, 0) if item.__class__ is Refusal else self._command(item, i)
        key = (self.cycle.source[i], item.methodology, self.reading.day[i])
        terms = self._terms.get(key) or self._find_terms(key)
        account = self.accounts[item.uid]
        refusal = self._refusal(item, i, terms)
        if refusal is None:
            self.known.add(self.reading.id_member[i])
            self.known.add(self.reading.claim_member[i])
            return _credit(item, key[2], terms, account)
        if refusal.verdict in REMEMBERS_ID:
            self.known.add(self.reading.id_member[i])
        return _refused(refusal, account.balance_milli)

    def _refusal(self, report: Report, i: int, terms: Terms) -> Refusal | None:
        """The first verdict that refuses a well-formed report, in the order of schemas/verdicts.py."""
        if i in self.misrouted:
            return Refusal(
                Verdict.MISROUTED,
                f"partition: murmur2(uid) mod {self.platform.shards} is {self.misrouted[i]}; use Kafka's default"
                " partitioner with key = uid (librdkafka: partitioner=murmur2_random)",
            )
        if not terms.app_active:
            return Refusal(Verdict.APP_NOT_ACTIVE, "app: not active on this day")
        if self.reading.id_member[i] in self.known:
            return Refusal(Verdict.DUPLICATE, "")
        if self.reading.occurred_ms[i] > self.cycle.time_ms[i] + FUTURE_TOLERANCE_MS:
            return Refusal(Verdict.OCCURRED_IN_FUTURE, "occurred_at: more than 5 minutes ahead")
        if terms.refusal:
            return terms.refusal
        methodology = terms.methodology
        if report.scene_id is not UNSET and report.scene_id not in self.apps[self.cycle.source[i]].scenes:
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
        if claim in self.known:
            return Refusal(Verdict.ALREADY_CLAIMED, "this behaviour was credited under another report_id")
        return None

    def _command(self, command: ClockCommand, i: int) -> tuple:
        if not self.platform.simulated_clock:
            return _refused(Refusal(Verdict.FORBIDDEN_OPERATION, "clock: genesis allows no simulated clock"), 0)
        offset_ms = to_ms(command.at) - self.cycle.broker_ms[i]
        if self.cycle.broker_ms[i] + offset_ms < self.cycle.time_ms[i]:
            return _refused(Refusal(Verdict.FORBIDDEN_OPERATION, "at: a shard's time never steps back"), 0)
        self.clock_offset_ms = offset_ms
        return _refused(Refusal(Verdict.COMMAND_APPLIED, f"clock_offset_ms: {offset_ms}"), 0)

    def _find_terms(self, key: tuple[int, str, int]) -> Terms:
        source, methodology_id, day = key
        terms = self._terms[key] = self._new_terms(self.apps[source], methodology_id, day)
        return terms

    def _new_terms(self, app: App | None, methodology_id: str, day: int) -> Terms:
        rules = self.rules
        if app is None or not app.active_from_day <= self.today <= app.active_to_day:
            return Terms(False, None)
        if not rules.valid_from_day <= day <= rules.valid_to_day:
            return Terms(True, Refusal(Verdict.OUTSIDE_VALIDITY, "occurred_at: outside the regulation's validity"))
        if day < self.today - LATE_WINDOW_DAYS:
            return Terms(True, Refusal(Verdict.TOO_LATE, f"occurred_at: more than {LATE_WINDOW_DAYS} days past"))
        if methodology_id not in rules.methodologies or methodology_id not in app.methodologies:
            return Terms(True, Refusal(Verdict.METHODOLOGY_UNKNOWN, "methodology: unknown, or not granted"))
        methodology, exchange = rules.methodology_on(methodology_id, day), rules.exchange_on(day)
        if methodology is None or exchange is None:
            return Terms(True, Refusal(Verdict.METHODOLOGY_NOT_IN_FORCE, "methodology: not in force that day"))
        return Terms(
            True,
            None,
            methodology,
            ratio(methodology.factor_mg_per_unit),
            ratio(exchange.points_per_g),  # points per g = points_milli per mg
            exchange.version,
            exchange.daily_cap_points * 1_000,
            expiry_day(self.today, exchange.validity_months, exchange.expires),
        )


def _refused(refusal: Refusal, balance_milli: int) -> tuple:
    return (int(refusal.verdict), refusal.detail, balance_milli, 0, 0, "", 0, 0, 0, 0)


def _credit(report: Report, day: int, terms: Terms, account: _Account) -> tuple:
    """A valid report: its reduction is always recorded; its points are cut by the day's cap."""
    methodology = terms.methodology
    amount = report.activity[methodology.unit]
    reduction_mg = floor_ratio(amount, *terms.factor)
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
        methodology.unit,
        amount,
        reduction_mg,
        points,
        terms.expiry_day if points else 0,
    )


def _append_records(columns: dict[str, list], cycle: Cycle, reading: Reading, rows: list[tuple]) -> None:
    """The record rows, column by column."""
    for name, values in zip(DECIDED, zip(*rows, strict=True), strict=True):
        columns[name] += values
    verdicts = columns["verdict"][-len(rows) :]
    items = [item if item.__class__ is Report else _NO_REPORT for item in reading.items]
    columns["source"] += cycle.source
    columns["offset"] += cycle.offset
    columns["broker_ms"] += cycle.broker_ms
    columns["time_ms"] += cycle.time_ms
    columns["occurred_ms"] += reading.occurred_ms
    columns["uid"] += [r.uid for r in items]
    columns["report_id"] += [r.report_id for r in items]
    columns["methodology"] += [r.methodology for r in items]
    columns["source_txn"] += ["" if r.source_txn is UNSET else r.source_txn for r in items]
    columns["region"] += ["" if r.region is UNSET else r.region for r in items]
    columns["inputs"] += [_rare_inputs(r) for r in items]
    columns["id_member"] += [m if v in REMEMBERS_ID else 0 for m, v in zip(reading.id_member, verdicts, strict=True)]
    columns["claim_member"] += [
        m if v in TAKES_CLAIM else 0 for m, v in zip(reading.claim_member, verdicts, strict=True)
    ]
    columns["raw"] += [
        value[:RAW_KEPT_BYTES_MAX] if v in KEEPS_RAW else b""
        for value, v in zip(cycle.value, verdicts, strict=True)
    ]


_NO_REPORT = Report(1, "", "", "", EPOCH, {})
_RARE = ("scene_id", "subject_type", "evidence_tier", "other_mechanism", "claimed_reduction_g")


def _rare_inputs(r: Report) -> str:
    """The inputs that few reports carry, as JSON; evidence as its hash."""
    if (
        r.scene_id is UNSET
        and r.subject_type is UNSET
        and r.evidence is UNSET
        and r.ended_at is UNSET
        and r.claimed_reduction_g is UNSET
        and r.other_mechanism is UNSET
        and r.evidence_tier is UNSET
    ):
        return ""
    inputs = {name: value for name in _RARE if (value := getattr(r, name)) is not UNSET}
    if r.ended_at is not UNSET:
        inputs["ended_ms"] = to_ms(r.ended_at)
    if r.evidence is not UNSET:
        inputs["evidence_sha256"] = hashlib.sha256(bytes(r.evidence)).hexdigest()
    return orjson.dumps(inputs).decode()
