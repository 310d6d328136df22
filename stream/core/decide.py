"""The decision: one cycle and the state before it -> one block. Pure; what a row says is for desk.py to find.

`decide` reads no clock and does no I/O; the same arguments give the same block, byte for byte.
"""

from schemas.block import Block, Meta, make_block
from schemas.formats import Columns, empty_columns
from schemas.kinds import Kind
from schemas.refusal import Refusal
from schemas.report import shanghai_day
from schemas.state import NO_LAGS, Head, Lag, Person
from schemas.topics import app_of
from schemas.verdicts import Verdict
from stream.core.cycle_input import Cycle
from stream.core.desk import Account, Desk
from stream.core.platform import Platform
from stream.core.read import Reading
from stream.core.record_rows import append_lost, append_records

_NOBODYS = Refusal(Verdict.FORBIDDEN_OPERATION, "topic: no registered app's")


def decide(
    platform: Platform,
    head: Head,
    cycle: Cycle,
    reading: Reading,
    persons: dict[str, Person],
    seen: set[int],
    published_to: int,
    lags: dict[str, Lag] = NO_LAGS,
) -> Block:
    """The block that follows `head`: expiries that are due for the persons touched, then one row a record.

    `persons`: current values of `reading.uids` (absent: a new person); `seen`: those of the looked-up members
    that are remembered; `published_to`: the ledger offset below which all outcomes are published, but for
    `lags`.
    """
    today = shanghai_day(cycle.time_ms[0])
    if reading.replay and app_of(reading.replay.topic) not in head.apps:  # there is nobody to tell
        reading = reading.without({len(cycle.offset) - 1: _NOBODYS})._replace(replay=None)
    accounts = {uid: Account(persons.get(uid) or Person()) for uid in reading.uids}
    columns = _expiries(persons, accounts, reading.uids, today, cycle.time_ms[0])
    desk = Desk(platform, head, cycle, reading, accounts, seen, today)
    rows = list(desk.rows())
    sources = cycle.sources
    for lost in desk.lost:
        sources = append_lost(columns, sources, lost)
    append_records(columns, cycle, reading, rows, platform.dedupe_key)
    meta = Meta(
        platform.name,
        cycle.shard,
        head.seq + 1,
        sources,
        desk.clock.time_ms,
        desk.clock.offset_ms,
        published_to,
        platform.rules.identity,
        lags=lags,
    )
    return make_block(head.hash, meta, columns, head.format)


def _expiries(
    persons: dict[str, Person], accounts: dict[str, Account], uids: list[str], today: int, time_ms: int
) -> Columns:
    """EXPIRED rows of all lots whose last valid day is past, of the persons that this cycle touches."""
    due = [
        (uid, day, points_milli)
        for uid in uids
        if uid in persons
        for day, points_milli in sorted(persons[uid].lots.items())
        if day < today
    ]
    columns = empty_columns(len(due))
    for i, (uid, day, points_milli) in enumerate(due):
        accounts[uid].balance_milli -= points_milli
        columns["kind"][i] = int(Kind.EXPIRY)
        columns["verdict"][i] = int(Verdict.EXPIRED)
        columns["source"][i] = -1
        columns["time_ms"][i] = time_ms
        columns["uid"][i] = uid
        columns["points_milli"][i] = -points_milli
        columns["expiry_day"][i] = day
        columns["balance_milli"][i] = accounts[uid].balance_milli
    return columns
