"""From a cycle's bytes to what a decision needs: reports or refusals, days, dedupe members. Pure and total."""

import struct
from hashlib import blake2b
from typing import NamedTuple

from msgspec import UNSET

from schemas.codec import Refusal, read_reports
from schemas.command import ClockCommand, read_command
from schemas.report import Report, shanghai_day, to_ms
from schemas.rules import Rules
from schemas.topics import COMMANDS
from schemas.verdicts import Verdict
from stream.cycle_input import Cycle

_NO_COMMAND = Refusal(Verdict.MALFORMED, "record: no command of this version")


class Reading(NamedTuple):
    """Parallel to a cycle's rows; for rows that are no reports 0 stands for day, time and members."""

    items: list[Report | Refusal | ClockCommand]
    occurred_ms: list[int]
    day: list[int]  # Asia/Shanghai day of the behaviour: the generation of both members
    id_member: list[int]  # of (app, report_id); never 0 for a report
    claim_member: list[int]  # of (person, methodology, claim key); 0 where the key's fields are missing
    uids: list[str]  # each person once, in order of first appearance
    lookups: dict[int, list[int]]  # by day: the members to look up in that generation


def read_records(cycle: Cycle, rules: Rules, dedupe_key: bytes) -> Reading:
    """Reads every record of a cycle."""
    items = read_reports(cycle.value)
    for s, span in enumerate(cycle.sources):
        if span.topic == COMMANDS:
            for i, source in enumerate(cycle.source):
                if source == s:
                    items[i] = read_command(cycle.value[i]) or _NO_COMMAND
    n = len(items)
    occurred_ms, day, id_member, claim_member = [0] * n, [0] * n, [0] * n, [0] * n
    uids: dict[str, None] = {}
    lookups: dict[int, list[int]] = {}
    app_keys = [span.topic.encode() + b"\0" for span in cycle.sources]
    for i, item in enumerate(items):
        if item.__class__ is not Report:
            continue
        occurred_ms[i] = ms = to_ms(item.occurred_at)
        day[i] = d = shanghai_day(ms)
        uids[item.uid] = None
        id_member[i] = member = _member(app_keys[cycle.source[i]] + item.report_id.encode(), dedupe_key)
        lookups.setdefault(d, []).append(member)
        claim = _claim(item, ms, rules)
        if claim:
            claim_member[i] = member = _member(claim, dedupe_key)
            for near in (d - 1, d, d + 1):  # two apps may report one trip across midnight
                lookups.setdefault(near, []).append(member)
    return Reading(items, occurred_ms, day, id_member, claim_member, list(uids), lookups)


def _claim(report: Report, occurred_ms: int, rules: Rules) -> bytes:
    """The behaviour's own key: the same whichever app reports it. b'' where a field of the key is missing."""
    versions = rules.methodologies.get(report.methodology)
    if not versions:
        return b""
    parts = [report.uid, report.methodology]
    for name in versions[0].claim_key:
        part = str(occurred_ms) if name == "occurred_at" else report.source_txn
        if part is UNSET:
            return b""
        parts.append(part)
    return "\0".join(parts).encode()


def _member(text: bytes, key: bytes, unpack=struct.Struct("<q").unpack) -> int:
    """A keyed 64-bit hash: apps cannot make ids that collide. 0 is taken to mean none."""
    return unpack(blake2b(text, digest_size=8, key=key).digest())[0] or 1
