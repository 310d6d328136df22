"""From a cycle's bytes to what a decision needs: reports or refusals, days, members. Pure and total."""

import struct
from hashlib import blake2b
from typing import NamedTuple

from msgspec import UNSET

from schemas.codec import read_reports
from schemas.command import Command, ReplayCommand, read_command
from schemas.limits import FUTURE_TOLERANCE_MS
from schemas.refusal import Refusal
from schemas.report import DAY_MS, SHANGHAI_OFFSET_MS, Report, shanghai_day
from schemas.rules import Rules
from schemas.topics import COMMANDS
from schemas.verdicts import Verdict
from stream.batches.reader import Unreadable
from stream.core.cycle_input import Cycle

_NO_COMMAND = Refusal(Verdict.MALFORMED, "record: no command of this version")
_OTHER_BYTES = Refusal(Verdict.FORBIDDEN_OPERATION, "hash: not that of the bytes in value")


Item = Report | Refusal | Command  # what a record is


class Reading(NamedTuple):
    """Parallel to a cycle's rows; for rows that are no reports 0 stands for day, time and members."""

    items: list[Item]
    occurred_ms: list[int]
    day: list[int]  # Asia/Shanghai day of the behaviour: the generation of both members
    id_member: list[int]  # of (app, report_id); never 0 for a report
    claim_member: list[int]  # of (person, methodology, claim key, day); 0 where the key's fields are missing
    uids: list[str]  # each person once, in order of first appearance
    lookups: dict[int, list[int]]  # by day: the members to look up in that generation
    # The last row, where it decides a refused record once more: its item is that record's.
    replay: ReplayCommand | None = None


def read_records(cycle: Cycle, rules: Rules, dedupe_key: bytes) -> Reading:
    """Reads every record of a cycle."""
    values = [b"" if isinstance(value, Unreadable) else value for value in cycle.value]
    found, occurred_ms = read_reports(values)
    items: list[Item] = [*found]
    for i, value in enumerate(cycle.value):
        if isinstance(value, Unreadable):
            items[i] = Refusal(Verdict.UNREADABLE_BATCH, f"batch: {value.codec}: {value.reason}")
    replay = _read_commands(cycle, items, occurred_ms, dedupe_key)
    n = len(items)
    day, id_member, claim_member = [0] * n, [0] * n, [0] * n
    uids: dict[str, None] = {}
    ids: dict[int, list[int]] = {}  # by day
    claims: dict[int, list[int]] = {}
    app_keys = [span.topic + "\0" for span in cycle.sources]
    sources = cycle.source
    if replay:
        app_keys.append(replay.topic + "\0")
        sources = [*sources[:-1], len(cycle.sources)]
    keyed = blake2b(digest_size=8, key=dedupe_key)
    for i, (item, source, ms) in enumerate(zip(items, sources, occurred_ms, strict=True)):
        if not isinstance(item, Report):
            continue
        day[i] = d = (ms + SHANGHAI_OFFSET_MS) // DAY_MS
        uids[item.uid] = None
        id_member[i] = member = _member(app_keys[source] + item.report_id, keyed)
        if d not in ids:
            ids[d], claims[d] = [], []
        ids[d].append(member)
        if claim := _claim(item, ms, rules):
            claim_member[i] = member = claim_on(_member(claim, keyed), d)
            claims[d].append(member)
    newest = shanghai_day(cycle.time_ms[-1] + FUTURE_TOLERANCE_MS)
    lookups = _lookups(ids, claims, newest)
    return Reading(items, occurred_ms, day, id_member, claim_member, list(uids), lookups, replay)


def claim_on(member: int, day: int) -> int:
    """The member that a claim has in one generation; applied again it takes the day out again.

    A trip claimed five days ago is another one than today's of the same number, also where both are looked
    up in one cycle: the day is part of the member, so no verdict depends on how records fell into cycles.
    """
    return member ^ day or 1


def _read_commands(
    cycle: Cycle, items: list[Item], occurred_ms: list[int], dedupe_key: bytes
) -> ReplayCommand | None:
    """What stands in topic `commands` is no report: reads it again as what it is.

    The item of a replay, which ends its cycle as every command does, is the record that it holds.
    """
    for s, span in enumerate(cycle.sources):
        if span.topic == COMMANDS:
            for i, (source, value) in enumerate(zip(cycle.source, cycle.value, strict=True)):
                if source == s and isinstance(value, bytes):
                    items[i], occurred_ms[i] = read_command(value) or _NO_COMMAND, 0
    replay = items[-1]
    if not isinstance(replay, ReplayCommand):
        return None
    if bytes_hash(replay.value, dedupe_key) != replay.hash:
        items[-1] = _OTHER_BYTES
        return None
    items[-1:], occurred_ms[-1:] = read_reports([replay.value])
    return replay


def bytes_hash(value: bytes, dedupe_key: bytes) -> str:
    """Keyed BLAKE2b-128 of a record's bytes; 32 hex digits."""
    return blake2b(value, digest_size=16, key=dedupe_key, person=b"refused bytes").hexdigest()


def _lookups(ids: dict[int, list[int]], claims: dict[int, list[int]], newest: int) -> dict[int, list[int]]:
    """An id is looked up in its own day; a claim also a day to either side, as a trip may cross midnight.

    Nothing can stand in a generation after `newest`, the day that a report could have at this time at most:
    today's reports, which are most, are spared the look-up of tomorrow.
    """
    lookups = {day: list(members) for day, members in ids.items()}
    for day, members in claims.items():
        for near in (day - 1, day, day + 1):
            if near <= newest:
                lookups.setdefault(near, []).extend([claim_on(member, day ^ near) for member in members])
    return lookups


def _claim(report: Report, occurred_ms: int, rules: Rules) -> str:
    """The behaviour's own key: the same whichever app reports it. '' where a field of the key is missing."""
    versions = rules.methodologies.get(report.methodology)
    if versions is None:
        return ""
    key = f"{report.uid}\0{report.methodology}"
    for name in versions[0].claim_key:
        part = occurred_ms if name == "occurred_at" else report.source_txn
        if part is UNSET:
            return ""
        key = f"{key}\0{part}"
    return key


_signed_64_bit = struct.Struct("<q").unpack


def _member(text: str, keyed: blake2b) -> int:
    """A keyed 64-bit hash: apps cannot make ids that collide. 0 is taken to mean none.

    A copy of `keyed`, which has the key in it already, costs 0.6 us; taking the key anew 0.8.
    """
    digest = keyed.copy()
    digest.update(text.encode())
    return _signed_64_bit(digest.digest())[0] or 1
