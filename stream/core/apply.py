"""The only maker of states: (block, state before) -> change. Pure; live, recovery and rebuild all use it."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.block import Block, Span
from schemas.command import decode_inputs
from schemas.kinds import COMMANDS
from schemas.limits import REMEMBERED_DAYS
from schemas.report import DAY_MS, SHANGHAI_OFFSET_MS, shanghai_day
from schemas.rules import CAPS_KEPT_DAYS
from schemas.state import Change, Head, Person, Source
from schemas.verdicts import Verdict
from stream.core.kinds import COMMAND_KINDS

_EXPIRED = int(Verdict.EXPIRED)  # what an IntEnum does in Python code is slow, and this is asked for each row


def touched(block: Block) -> list[str]:
    """The persons whose values `apply` needs."""
    moves = block.rows.column("uid").filter(_nonzero(block, "points_milli")).to_pylist()
    return list(dict.fromkeys(moves))


def apply(block: Block, head: Head, persons: dict[str, Person], ledger_offset: int) -> Change:
    """What a block that was found at `ledger_offset`, and follows `head`, changes.

    `persons`: the values before, of at least `touched(block)`; an absent one is new. They are not modified.
    """
    if block.prev != head.hash or block.meta.seq != head.seq + 1:
        raise AssertionError("apply: the block does not follow this head")
    if block.format != head.format and head.seq >= 0:
        raise AssertionError(f"apply: a block of format {block.format}, where {head.format} is in force")
    meta = block.meta
    today = shanghai_day(meta.time_ms)
    before = shanghai_day(head.time_ms) if head.seq >= 0 else today
    sources = head.sources | {
        # A span of nothing only names what a row about lost records speaks of.
        span.topic: _source_after(span)
        for span in meta.sources
        if span.next > span.first or head.seq < 0
    }
    behind_records = Head(
        seq=meta.seq,
        hash=block.hash,
        time_ms=meta.time_ms,
        clock_offset_ms=meta.clock_offset_ms,
        ledger_next=ledger_offset + 1,
        published_to=meta.published_to,
        lags=meta.lags,
        sources=sources,
        apps=head.apps,
        format=block.format,
        format_release=head.format_release,
    )
    new_head, retired = _commanded(block, behind_records), _retired(before, today)
    return Change(
        meta.shard,
        head.hash,
        new_head,
        _persons(block, persons, today),
        # A block that ends with a jump of the clock may retire what it has just remembered.
        {day: members for day, members in _members(block).items() if day not in retired},
        retired,
        [block.hash],
        new_head.apps is not head.apps,
    )


def _source_after(span: Span) -> Source:
    return Source(span.topic_id, span.next, span.paid_us, span.day, span.day_rows)


def _commanded(block: Block, head: Head) -> Head:
    """The head after the command that ends the block, if one does."""
    last = block.rows.slice(block.rows.num_rows - 1)
    kind, verdict, inputs = (last.column(name)[0].as_py() for name in ("kind", "verdict", "inputs"))
    if verdict != Verdict.COMMAND_APPLIED:
        return head
    command = decode_inputs(inputs, COMMANDS[kind])
    return COMMAND_KINDS[type(command)].change(command, head)


def _persons(block: Block, persons: dict[str, Person], today: int) -> dict[str, Person]:
    changed: dict[str, Person] = {}
    names = ["uid", "verdict", "points_milli", "expiry_day", "occurred_ms"]
    rows = block.rows.select(names).filter(_nonzero(block, "points_milli"))
    columns = [column.to_pylist() for column in rows.columns]
    for uid, verdict, points_milli, expiry_day, occurred_ms in zip(*columns, strict=True):
        person = changed.get(uid)
        if person is None:
            person = changed[uid] = _copied(persons.get(uid), today)
        lots, used = person.lots, person.used_caps
        if verdict == _EXPIRED:
            if lots.pop(expiry_day, 0) != -points_milli:
                raise AssertionError("apply: an expiry must empty its lot")
            continue
        day = shanghai_day(occurred_ms)
        lots[expiry_day] = lots.get(expiry_day, 0) + points_milli
        used[day] = used.get(day, 0) + points_milli
    return changed


def _copied(old: Person | None, today: int) -> Person:
    """A person to be changed, without what no report that can still come counts against."""
    if old is None:
        return Person()
    used, oldest = old.used_caps.copy(), today - CAPS_KEPT_DAYS
    for day in old.used_caps:
        if day < oldest:
            del used[day]
    return Person(old.lots.copy(), used)


def _members(block: Block) -> dict[int, list[int]]:
    """The dedupe members that the block's rows leave behind, by generation."""
    days = (_numbers(block, "occurred_ms") + SHANGHAI_OFFSET_MS) // DAY_MS
    members: dict[int, list[int]] = {}
    for name in ("id_member", "claim_member"):
        values = _numbers(block, name)
        present = values != 0
        for day in np.unique(days[present]).tolist():
            members.setdefault(day, []).extend(values[present & (days == day)].tolist())
    return members


def _retired(before: int, today: int) -> range:
    """Generations that this block makes too old; at most those that can exist, however far time jumped."""
    newest = before + 1  # a report may be 5 minutes ahead of a shard whose midnight is near
    return range(before - REMEMBERED_DAYS, min(today - REMEMBERED_DAYS, newest + 1))


def _numbers(block: Block, name: str) -> np.ndarray:
    numbers: np.ndarray = block.rows.column(name).to_numpy(zero_copy_only=False)
    return numbers


def _nonzero(block: Block, name: str) -> pa.BooleanArray:
    return pc.not_equal(block.rows.column(name), 0)
