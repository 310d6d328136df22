"""State that Redis projects from the ledger: the shard's head and one small value per person."""

from collections.abc import Collection

import msgspec
from msgspec import Struct

from schemas.kinds.app import App

ZERO_HASH = bytes(32)


class Person(Struct, array_like=True, gc=False):
    """One person's points. MessagePack, about 20 bytes for one lot.

    `lots`: points in 1/1000 by last valid day (Asia/Shanghai, days since 1970-01-01); always above zero.
    `used_caps`: points in 1/1000 counted against the cap of a behaviour day, while reports of it may come.
    """

    lots: dict[int, int] = msgspec.field(default_factory=dict)
    used_caps: dict[int, int] = msgspec.field(default_factory=dict)

    def balance_milli(self) -> int:
        """Points in 1/1000 over all lots, those included that are due to expire at the next touch."""
        return sum(self.lots.values())


class Source(Struct, frozen=True, array_like=True):
    """What a shard knows of one source of records: a topic with its id, in this shard's partition.

    `next`: the offset that is due. `paid_us`: up to when the source has used its fair share of the shard, in
    microseconds of the broker's time; see stream/core/cycle_input.py. `day_rows`: rows decided of it on
    `day`, the Asia/Shanghai day of the worker's clock, against the app's quota of rows.
    """

    topic_id: str
    next: int
    paid_us: int = 0
    day: int = 0
    day_rows: int = 0


class Lag(Struct, frozen=True, array_like=True):
    """From where the outcomes of an app wait whose topic of outcomes does not exist.

    `offset`: ledger offset from which on none of its outcomes is published; `prev`: the hash of the head
    there.
    """

    offset: int
    prev: bytes


NO_LAGS: dict[str, Lag] = {}


class Head(Struct, frozen=True):
    """Where a shard stands: everything the next cycle's decision needs beside the persons.

    `time_ms` is the shard's time (largest broker timestamp plus clock offset); `sources` by topic;
    `ledger_next` the ledger offset after the head block; every block at a ledger offset below `published_to`
    has its outcomes on Kafka, but for the topics in `lags`; `apps` is the registry: apps by id, as the last
    command about each of them left it; `format` is that of the next block, and `format_release` the first
    release that can write it, where a command said so.
    """

    seq: int = -1
    hash: bytes = ZERO_HASH
    time_ms: int = 0
    clock_offset_ms: int = 0
    ledger_next: int = 0
    published_to: int = 0
    lags: dict[str, Lag] = msgspec.field(default_factory=dict)
    sources: dict[str, Source] = msgspec.field(default_factory=dict)
    apps: dict[str, App] = msgspec.field(default_factory=dict)
    format: int = 1
    format_release: str = ""


class Change(Struct):
    """What a block, or several in a row, do to a shard's state: `prev` -> `head`, or nothing.

    `persons`: new values; `retired_days`: generations to drop first, because every id of them is too late for
    ever; `members`: dedupe members to add, by generation (day); `blocks`: the hashes of the blocks;
    `registry`: whether the head's apps are others than before, or may be.
    """

    shard: int
    prev: bytes
    head: Head
    persons: dict[str, Person]
    members: dict[int, list[int]]
    retired_days: Collection[int]
    blocks: list[bytes] = []
    registry: bool = True


encode_person = msgspec.msgpack.Encoder().encode
decode_person = msgspec.msgpack.Decoder(Person).decode
