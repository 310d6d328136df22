"""Platforms, reports and fetches for tests: valid unless told otherwise, small, and the same in every run."""

import datetime as dt
import functools
import hashlib
import json

from schemas.command import encode_command
from schemas.kinds.adopt import AdoptCommand
from schemas.kinds.app import App, AppCommand
from schemas.limits import CYCLE_ROWS_MAX, FAIR_ROWS_S
from schemas.report import SHANGHAI, day_of_date, shanghai_day
from schemas.rules import PACKAGED, Rules, load_rules
from schemas.shards import shards_of
from schemas.state import Change, Head, Person, Source
from schemas.topics import COMMANDS, intake_topic
from stream.batches.fetch import Fetch
from stream.batches.reader import Batch
from stream.core.cycle_input import Buffer, Cycle
from stream.core.platform import Platform

METRO, BUS = intake_topic("metro"), intake_topic("bus")
SOURCES = (COMMANDS, BUS, METRO)
NOON = dt.datetime(2024, 9, 7, 12, tzinfo=SHANGHAI)
NOON_MS = int(NOON.timestamp() * 1000)
TODAY = day_of_date(NOON.date())
SHARDS = 4
HASH = b"h" * 32
TOPIC_IDS = {COMMANDS: "commands".ljust(22, "-"), BUS: "bus".ljust(22, "-"), METRO: "metro".ljust(22, "-")}
APPS = {
    "metro": App("metro", "metro code app", ["SZ-METRO"], ["metro-gate"], topic_id=TOPIC_IDS[METRO]),
    "bus": App("bus", "bus code app", ["SZ-BUS-BEV"], ["bus-reader"], topic_id=TOPIC_IDS[BUS]),
}


@functools.cache
def rules() -> Rules:
    return load_rules(PACKAGED)


def platform(
    rules_in_use: Rules | None = None, simulated_clock: bool = True, shards: int = SHARDS
) -> Platform:
    return Platform("test", shards, b"dedupe key", simulated_clock, FAIR_ROWS_S, rules_in_use or rules())


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


def remember(members: dict[int, set[int]], change: Change) -> None:
    """What is remembered by generation, after a change, of whichever release."""
    for day in change.retired_days:
        members.pop(day, None)
    for day, new in change.members.items():
        members.setdefault(day, set()).update(new)


def clock(at: dt.datetime) -> bytes:
    return json.dumps({"version": 1, "kind": "clock", "at": at.isoformat()}).encode()


def registered(app: App) -> bytes:
    return encode_command(AppCommand(app=app))


def adoption(topic: str, topic_id: str, first: int) -> bytes:
    said = AdoptCommand(topic=topic, topic_id=topic_id, first=first, by="li", reason="disk lost")
    return encode_command(said)


def packed(offset: int, *values: bytes | None, ms: int = NOON_MS) -> Batch:
    """A record batch, uncompressed, as the reader finds it in a fetch."""
    payload = b"".join(_packed_record(delta, value) for delta, value in enumerate(values))
    return Batch(offset, offset + len(values), ms, len(values), 0, payload, None)


def _packed_record(delta: int, value: bytes | None) -> bytes:
    length = b"\x01" if value is None else _varint(len(value)) + value
    body = b"\0\0" + _varint(delta) + b"\x01" + length + b"\0"
    return _varint(len(body)) + body


def _varint(number: int) -> bytes:
    number <<= 1  # zig-zag of what is never negative
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def fetch(topic: str, batches: list[Batch], first: int | None = None, shard: int = 0, end: int = 0) -> Fetch:
    first = batches[0].base if first is None else first
    return Fetch(topic, shard, first, batches[-1].next, batches, end)


def source(following: int, topic: str = METRO) -> Source:
    """Where a source stands that is not new."""
    return Source(TOPIC_IDS[topic], following)


def head(time_ms: int = NOON_MS - 60_000, **fields: object) -> Head:
    """A shard that has decided something before."""
    sources = {topic: source(0, topic) for topic in SOURCES}
    known = {"seq": 5, "hash": HASH, "time_ms": time_ms, "ledger_next": 6, "apps": APPS, "sources": sources}
    return Head(**known | fields)


def cycle(
    *records: tuple[str, bytes] | tuple[str, bytes, int], shard: int = 0, after: Head | None = None
) -> Cycle:
    """The cycle of records (topic, value[, timestamp]), which arrive a millisecond apart if not told."""
    assert len(records) <= CYCLE_ROWS_MAX
    buffer = Buffer(shard, {topic: source(0, topic) for topic in SOURCES}, FAIR_ROWS_S)
    offsets = dict.fromkeys(SOURCES, 0)
    for number, (topic, value, *ms) in enumerate(records):
        one = packed(offsets[topic], value, ms=ms[0] if ms else NOON_MS + number)
        buffer.add(fetch(topic, [one], shard=shard))
        offsets[topic] += 1
    return buffer.take(after or head(), TODAY)


def used_up(points_milli: int, day: int = TODAY) -> Person:
    """A person who has had so many points of a day."""
    return Person({day + 700: points_milli}, {day: points_milli})


assert shanghai_day(NOON_MS) == TODAY
