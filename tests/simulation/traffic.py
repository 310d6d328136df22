"""What the apps and the platform say: records with the intent behind them, which the model reads instead
of bytes."""

import asyncio
import datetime as dt
import hashlib
import json
from typing import Any, NamedTuple

from schemas.command import App, AppCommand, encode_command
from schemas.report import SHANGHAI
from schemas.rules import Bundle, Exchange, Methodology, Rules
from schemas.shards import shards_of
from schemas.topics import COMMANDS, intake_topic
from tests.simulation.chance import Chance

SHARDS = 2
APPS = ("a", "b")
TOPICS = (COMMANDS, *(intake_topic(app) for app in APPS))
METHODS = {"WALK": (7, 2), "RIDE": (46, 1)}  # mg per unit, as numerator and denominator
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
                m, 1, "official", m, m, _FROM, "distance_m", str(n / d), 1, ACTIVITY_MAX, ["source_txn"]
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
    """One record as meant: `kind` is 'report', 'clock', 'app' or 'rubbish'; `value` its bytes."""

    kind: str
    value: bytes
    uid: str = ""
    report_id: str = ""
    methodology: str = ""
    txn: str = ""
    occurred_ms: int = 0
    amount: int = 0
    at_ms: int = 0
    app: str = ""
    active: bool = False


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
            broken = (b"", b"{", b"[]", b'{"version":1}', b"\xff\x00", b'{"a":[{}', b"{}]}")
            return Intent("rubbish", broken[self._chance.below("rubbish", len(broken))])
        txn = f"t{self._chance.below('txn', 40)}"
        age_ms = self._chance.below("age", 240_000)
        if draw < 26:
            age_ms += self._chance.below("late", 14) * 86_400_000
        elif draw < 29:
            age_ms = -600_000
        uid = self._uids[self._chance.below("person", len(self._uids))]
        methodology = ("WALK", "RIDE", "RIDE", "NONE")[self._chance.below("method", 4 if draw < 35 else 3)]
        amount = 1 + self._chance.below("amount", ACTIVITY_MAX + (300 if draw > 95 else 0))
        intent = _report(uid, methodology, txn, now_ms - age_ms, amount, len(self._reports))
        self._reports.append(intent)
        return intent

    def clock(self, now_ms: int) -> Intent:
        """A jump of the simulated clock: hours, days or more than a month; sometimes back, which is
        refused."""
        jump_ms = (3_600_000, 20 * 3_600_000, 9 * 86_400_000, 35 * 86_400_000, -86_400_000)
        at_ms = now_ms + jump_ms[self._chance.below("jump", len(jump_ms))]
        at = dt.datetime.fromtimestamp(at_ms / 1000, SHANGHAI).isoformat(timespec="milliseconds")
        value = json.dumps({"version": 1, "kind": "clock", "at": at}).encode()
        return Intent("clock", value, at_ms=at_ms)


def registration(app: str, active: bool) -> Intent:
    """An app as it is from now on; both apps are granted both methodologies, so that they race for claims."""
    value = encode_command(AppCommand(1, App(app, app, list(METHODS), active=active)))
    return Intent("app", value, app=app, active=active)


def _report(uid: str, methodology: str, txn: str, occurred_ms: int, amount: int, number: int) -> Intent:
    at = dt.datetime.fromtimestamp(occurred_ms / 1000, SHANGHAI)
    report_id = f"{at:%Y%m%d}-r{number}"
    value = {
        "version": 1,
        "kind": "report",
        "uid": uid,
        "report_id": report_id,
        "methodology": methodology,
        "occurred_at": at.isoformat(timespec="milliseconds"),
        "activity": {"distance_m": amount},
        "source_txn": txn,
    }
    return Intent("report", json.dumps(value).encode(), uid, report_id, methodology, txn, occurred_ms, amount)


async def speak(world: Any, records: int) -> None:
    """Apps and platform send, at an uneven pace."""
    talk = Traffic(world.chance)
    uids = persons()
    offset_ms = 0
    world.command(registration(APPS[0], True))  # the other is registered some time later
    for _ in range(records):
        await asyncio.sleep(1.2 * world.chance.uniform("pace") ** 3)
        if world.chance.uniform("registry") < 0.04:
            which = APPS[world.chance.below("which app", len(APPS))]
            world.command(registration(which, world.chance.uniform("active") < 0.75))
        if world.chance.uniform("command") < 0.03:
            command = talk.clock(world.now_ms() + offset_ms)
            world.command(command)
            offset_ms = max(offset_ms, command.at_ms - world.now_ms())
            world.count("time: a clock command")
            continue
        intent = talk.report(world.now_ms() + offset_ms)
        app = APPS[world.chance.below("app", len(APPS))]
        shard = uids.index(intent.uid) // 5 if intent.uid else world.chance.below("rubbish to", world.shards)
        world.produce(f"intake.{app}", shard, intent)
