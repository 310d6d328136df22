"""Platforms, reports and batches for tests: valid unless told otherwise, small, and the same in every run."""

import datetime as dt
import functools
import hashlib
import json
from types import SimpleNamespace

from schemas.command import App, AppCommand, encode_command
from schemas.limits import CYCLE_ROWS_MAX
from schemas.report import SHANGHAI, day_of_date, shanghai_day
from schemas.rules import PACKAGED, Rules, load_rules
from schemas.shards import shards_of
from schemas.state import Head, Person
from schemas.topics import COMMANDS, intake_topic
from stream.cycle_input import Buffer, Cycle
from stream.decide import Platform
from stream.transport import Batch

METRO, BUS = intake_topic("metro"), intake_topic("bus")
SOURCES = (COMMANDS, BUS, METRO)
NOON = dt.datetime(2024, 9, 7, 12, tzinfo=SHANGHAI)
NOON_MS = int(NOON.timestamp() * 1000)
TODAY = day_of_date(NOON.date())
SHARDS = 4
HASH = b"h" * 32
APPS = {
    "metro": App("metro", "metro code app", ["SZ-METRO"], ["metro-gate"]),
    "bus": App("bus", "bus code app", ["SZ-BUS-BEV"], ["bus-reader"]),
}


@functools.cache
def rules() -> Rules:
    return load_rules(PACKAGED)


def platform(
    rules_in_use: Rules | None = None, simulated_clock: bool = True, shards: int = SHARDS
) -> Platform:
    return Platform("test", shards, b"dedupe key", simulated_clock, rules_in_use or rules())


@functools.cache
def uids(shard: int, count: int, shards: int = SHARDS) -> tuple[str, ...]:
    """The first `count` persons of a shard."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        made = [hashlib.md5(str(n).encode()).hexdigest() for n in range(number, number + 64)]
        found += [uid for uid, at in zip(made, shards_of(made, shards), strict=True) if at == shard]
        number += 64
    return tuple(found[:count])


def uid(shard: int = 0, number: int = 0) -> str:
    return uids(shard, number + 1)[number]


def fields(name: str = "a", at: dt.datetime = NOON, **said: object) -> dict:
    """A valid report's fields; `said` replaces or adds, None takes out. The id gets its day."""
    report = {
        "version": 1,
        "kind": "report",
        "uid": uid(),
        "report_id": f"{at.astimezone(SHANGHAI):%Y%m%d}-{name}",
        "methodology": "SZ-METRO",
        "occurred_at": at.isoformat(),
        "activity": {"distance_m": 1_000},
        "source_txn": f"txn-{name}",
    }
    return {key: value for key, value in (report | said).items() if value is not None}


def record(name: str = "a", at: dt.datetime = NOON, **said: object) -> bytes:
    return json.dumps(fields(name, at, **said)).encode()


def clock(at: dt.datetime) -> bytes:
    return json.dumps({"version": 1, "kind": "clock", "at": at.isoformat()}).encode()


def registered(app: App) -> bytes:
    return encode_command(AppCommand(1, app))


def arrived(offset: int, value: bytes | None, ms: int = NOON_MS) -> SimpleNamespace:
    """A record as a consumer delivers it."""
    return SimpleNamespace(offset=offset, timestamp=ms, value=value)


def batch(topic: str, records: list[SimpleNamespace], first: int | None = None, shard: int = 0) -> Batch:
    first = records[0].offset if first is None else first
    return Batch(topic, shard, first, records[-1].offset + 1, records)


def head(time_ms: int = NOON_MS - 60_000, **fields: object) -> Head:
    """A shard that has decided something before."""
    return Head(**{"seq": 5, "hash": HASH, "time_ms": time_ms, "ledger_next": 6, "apps": APPS} | fields)


def cycle(
    *records: tuple[str, bytes] | tuple[str, bytes, int], shard: int = 0, after: Head | None = None
) -> Cycle:
    """The cycle of records (topic, value[, timestamp]), which arrive a millisecond apart if not told."""
    assert len(records) <= CYCLE_ROWS_MAX
    buffer = Buffer(shard, dict.fromkeys(SOURCES, 0))
    offsets = dict.fromkeys(SOURCES, 0)
    for number, (topic, value, *ms) in enumerate(records):
        buffer.add(
            batch(topic, [arrived(offsets[topic], value, ms[0] if ms else NOON_MS + number)], shard=shard)
        )
        offsets[topic] += 1
    return buffer.take(after or head())


def used_up(points_milli: int, day: int = TODAY) -> Person:
    """A person who has had so many points of a day."""
    return Person({day + 700: points_milli}, {day: points_milli})


assert shanghai_day(NOON_MS) == TODAY
