"""What the apps and the platform say: records with the intent behind them, which the model reads instead
of bytes."""

import asyncio
import datetime as dt
import hashlib
import json
from typing import Any, NamedTuple

from schemas.command import encode_command
from schemas.kinds.adopt import AdoptCommand
from schemas.kinds.app import App, AppCommand
from schemas.kinds.dismiss import DismissCommand
from schemas.kinds.format import FormatCommand
from schemas.kinds.replay import ReplayCommand
from schemas.report import SHANGHAI
from schemas.rules import Bundle, Exchange, Methodology, Rules
from schemas.shards import shards_of
from schemas.topics import COMMANDS, intake_topic
from stream.core.read import bytes_hash
from tests.simulation.chance import Chance

SHARDS = 2
APPS = ("a", "b")
TOPICS = (COMMANDS, *(intake_topic(app) for app in APPS))
METHODS = {"WALK": (7, 2), "RIDE": (46, 1)}  # mg per unit, as numerator and denominator
REGION = "4403"
CAP_MILLI = 100_000
VALIDITY_MONTHS = 1
ACTIVITY_MAX = 5_000
START = dt.datetime(2024, 8, 30, 23, 59, 40, tzinfo=SHANGHAI)  # a midnight and a month's end are near
_FROM = dt.date(2022, 8, 18)


def rules() -> Rules:
    """Two methodologies and a cap that binds often."""
    return Rules(
        Bundle(1, "simulated", "simulated", _FROM, dt.date(2027, 8, 17)),
        [
            Methodology(
                *(m, 1, "official", m, m, _FROM, "distance_m", str(n / d), 1, ACTIVITY_MAX, ["source_txn"]),
                region_prefix=REGION,
            )
            for m, (n, d) in METHODS.items()
        ],
        [Exchange(1, "illustrative", _FROM, "1", VALIDITY_MONTHS, "day", CAP_MILLI // 1000)],
    )


def persons() -> list[str]:
    """Ten people, five in each shard."""
    uids = [hashlib.md5(str(i).encode()).hexdigest() for i in range(60)]
    of = shards_of(uids, SHARDS)
    return [
        uid for shard in range(SHARDS) for uid in [u for u, s in zip(uids, of, strict=True) if s == shard][:5]
    ]


class Intent(NamedTuple):
    """One record as meant: `kind` is 'report', 'clock', 'app', 'adopt', 'rubbish', 'replay' (of the record
    that `of` means), 'tampered' (a replay of other bytes), 'dismiss', 'format' (`first`: its number), 'pause'
    and an app's 'names pause' of the next release, or 'unreadable': a whole batch of `offsets`; `value` its
    bytes."""

    kind: str
    value: bytes
    uid: str = ""
    report_id: str = ""
    methodology: str = ""
    txn: str = ""
    occurred_ms: int = 0
    amount: int = 0
    region: str = ""
    is_household: bool = False
    at_ms: int = 0
    app: str = ""
    active: bool = False
    topic: str = ""
    topic_id: str = ""
    first: int = 0
    of: "Intent | None" = None
    offsets: int = 1
    rows: int = 1  # what a source pays for it


class Traffic:
    """Makes records one after the other; some repeat, race or break what was said before."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._uids = persons()
        self._reports: list[Intent] = []

    def report(self, now_ms: int) -> Intent:
        """A report by some app about some person, more or less right."""
        draw = self._chance.below("record", 100)
        if self._reports and draw < 12:
            return self._reports[self._chance.below("again", len(self._reports))]
        if draw < 18:
            return self.rubbish()
        txn = f"t{self._chance.below('txn', 40)}"
        age_ms = self._chance.below("age", 240_000)
        if draw < 26:
            age_ms += self._chance.below("late", 14) * 86_400_000
        elif draw < 29:
            age_ms = -600_000
        uid = self._uids[self._chance.below("person", len(self._uids))]
        methodology = ("WALK", "RIDE", "RIDE", "NONE")[self._chance.below("method", 4 if draw < 35 else 3)]
        amount = 1 + self._chance.below("amount", ACTIVITY_MAX + (600 if draw > 95 else 0))
        region = ("", "440305", "440305", "310000" if draw > 92 else "")[self._chance.below("region", 4)]
        household = draw in (90, 91, 92)
        meant = Intent("report", b"", uid, "", methodology, txn, now_ms - age_ms, amount, region, household)
        intent = _report(meant, len(self._reports))
        self._reports.append(intent)
        return intent

    def rubbish(self) -> Intent:
        """What is no record."""
        broken = (b"", b"{", b"[]", b'{"version":1}', b"\xff\x00", b'{"a":[{}', b"{}]}")
        return Intent("rubbish", broken[self._chance.below("rubbish", len(broken))])

    def clock(self, now_ms: int) -> Intent:
        """A jump of the simulated clock: hours, days or more than a month; sometimes back, which is
        refused."""
        jump_ms = (3_600_000, 20 * 3_600_000, 9 * 86_400_000, 35 * 86_400_000, -86_400_000)
        at_ms = now_ms + jump_ms[self._chance.below("jump", len(jump_ms))]
        at = dt.datetime.fromtimestamp(at_ms / 1000, SHANGHAI).isoformat(timespec="milliseconds")
        value = json.dumps({"version": 1, "kind": "clock", "at": at}).encode()
        return Intent("clock", value, at_ms=at_ms)


def registration(app: str, active: bool, topic_id: str, rows_per_day: int) -> Intent:
    """An app as it is from now on; both apps are granted both methodologies, so that they race for claims."""
    said = App(app, app, list(METHODS), active=active, topic_id=topic_id, rows_per_day=rows_per_day)
    value = encode_command(AppCommand(app=said))
    return Intent("app", value, app=app, active=active, topic_id=topic_id)


def adoption(topic: str, topic_id: str, first: int) -> Intent:
    """The platform says where a source goes on."""
    value = encode_command(AdoptCommand(topic=topic, topic_id=topic_id, first=first, by="operator"))
    return Intent("adopt", value, topic=topic, topic_id=topic_id, first=first)


def format_begins(number: int, release: str) -> Intent:
    """The platform says in which format shards go on."""
    return Intent("format", encode_command(FormatCommand(number=number, release=release)), first=number)


def pause() -> Intent:
    """The platform says what only the next release knows, in its format."""
    return Intent("pause", b'{"version":1,"kind":"pause"}')


def names_pause() -> Intent:
    """An app says it."""
    return Intent("names pause", b'{"version":1,"kind":"pause","uid":"x"}')


def replay(place: tuple[str, str, int, int], of: Intent, key: bytes, tampered: bool) -> Intent:
    """The platform has a record decided once more; `place`: topic, id, partition, offset."""
    topic, topic_id, partition, offset = place
    digest = bytes_hash(of.value + b" " * tampered, key)
    command = ReplayCommand(
        topic=topic, topic_id=topic_id, partition=partition, offset=offset, value=of.value, hash=digest
    )
    if tampered:
        return Intent("tampered", encode_command(command))
    return Intent("replay", encode_command(command), of.uid, topic=topic, of=of)


def dismissal(place: tuple[str, str, int, int]) -> Intent:
    """The platform will do nothing more about a refused record."""
    topic, topic_id, partition, offset = place
    command = DismissCommand(topic=topic, topic_id=topic_id, partition=partition, first=offset, last=offset)
    return Intent("dismiss", encode_command(command))


def unreadable(offsets: int, by_header: bool) -> Intent:
    """A batch of so many offsets that no client can read; what its header refuses is paid as one row."""
    return Intent("unreadable", b"", offsets=offsets, rows=1 if by_header else offsets)


def _report(meant: Intent, number: int) -> Intent:
    at = dt.datetime.fromtimestamp(meant.occurred_ms / 1000, SHANGHAI)
    report_id = f"{at:%Y%m%d}-r{number}"
    value = {
        "version": 1,
        "kind": "report",
        "uid": meant.uid,
        "report_id": report_id,
        "methodology": meant.methodology,
        "occurred_at": at.isoformat(timespec="milliseconds"),
        "activity": {"distance_m": meant.amount},
        "source_txn": meant.txn,
    }
    value |= {"region": meant.region} if meant.region else {}
    value |= {"subject_type": "household"} if meant.is_household else {}
    return meant._replace(value=json.dumps(value).encode(), report_id=report_id)


async def speak(world: Any, records: int) -> None:
    """Apps and platform send, at an uneven pace."""
    talk, chance = Traffic(world.chance), world.chance
    uids = persons()
    offset_ms = 0
    world.operator.register(APPS[0], True)  # the other is registered some time later
    for _ in range(records):
        await asyncio.sleep(1.2 * chance.uniform("pace") ** 3)
        if chance.uniform("registry") < 0.04:
            world.operator.register(
                APPS[chance.below("which app", len(APPS))], chance.uniform("active") < 0.75
            )
        if chance.uniform("command") < 0.03:
            command = talk.clock(world.now_ms() + offset_ms)
            world.operator.command(command)
            offset_ms = max(offset_ms, command.at_ms - world.now_ms())
            world.count("time: a clock command")
            continue
        if chance.uniform("dead letter") < 0.06:
            world.operator.settle_dead_letter()
        topic = intake_topic(APPS[chance.below("app", len(APPS))])
        if chance.uniform("unreadable") < 0.03:
            shard, by_header = chance.below("rubbish to", world.shards), chance.uniform("header") < 0.5
            world.broker.produce_unreadable(topic, shard, 1 + chance.below("offsets", 9), by_header)
            continue
        intent = talk.report(world.now_ms() + offset_ms)
        shard = uids.index(intent.uid) // 5 if intent.uid else chance.below("rubbish to", world.shards)
        flood = []
        if chance.uniform("flood") < 0.03:
            flood = [talk.rubbish() for _ in range(5 + chance.below("flood size", 30))]
        world.broker.produce(topic, shard, *flood, intent)
