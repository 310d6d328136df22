"""What an app is told about each of its records, and where the refused ones lie.

Both are made from a block by pure functions, so they can be made again at any time, byte for byte.
An app drops a (shard, seq, row) that it has seen: outcomes are published at least once.
"""

from typing import TYPE_CHECKING

import msgspec

from schemas.kinds import Kind
from schemas.report import date_of_day
from schemas.topics import DEAD_LETTERS, INTAKE_PREFIX, app_of, outcomes_topic
from schemas.verdicts import CODES, DEAD_LETTER

if TYPE_CHECKING:  # an app that reads outcomes needs no Arrow
    from schemas.block import Block

VERSION = 1


class Outcome(msgspec.Struct, gc=False):
    """What became of one record, as its app is told it, field by field in this order.

    `report_id` is empty where none could be read, amounts are 0 where nothing was earned. (shard, seq, row)
    is the outcome's place in the ledger.
    """

    version: int
    report_id: str
    verdict: str
    detail: str
    reduction_mg: int
    points_milli: int
    balance_milli: int
    expires_on: str
    topic: str
    topic_id: str
    partition: int
    offset: int
    last_offset: int
    shard: int
    seq: int
    row: int


# Not orjson: its outputs begin as a kilobyte of malloc each, and with a cycle's thousands of them alive that
# costs ten times the encoding.
_encode = msgspec.json.Encoder().encode


class Message(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record to publish, into the partition that is the block's shard."""

    key: bytes | None
    value: bytes


# The fields of an outcome, as published in schemas/json/outcome.schema.json.
OUTCOME_FIELDS: dict[str, tuple[type, str]] = {
    "version": (int, "1"),
    "report_id": (str, "of the record; empty where it could not be read"),
    "verdict": (str, "see docs/verdicts.md"),
    "detail": (str, "the field and the rule that it broke; empty if nothing was wrong"),
    "reduction_mg": (int, "recorded reduction in mg CO2e"),
    "points_milli": (int, "issued points in 1/1000"),
    "balance_milli": (int, "the person's points in 1/1000 after this record"),
    "expires_on": (str, "last valid day of these points in Asia/Shanghai, YYYY-MM-DD; empty without points"),
    "topic": (str, "where the record was read"),
    "topic_id": (str, "Kafka's id of that topic: offsets of a topic that was made again are others"),
    "partition": (int, "where the record was read"),
    "offset": (int, "where the record was read"),
    "last_offset": (int, "of the last record that this is said of; almost always equal to offset"),
    "shard": (int, "with seq and row: the place in the ledger, unique for ever"),
    "seq": (int, "the block"),
    "row": (int, "the row of the block"),
}


def messages_of(block: "Block") -> dict[str, list[Message]]:
    """All outcomes and dead letters of a block, by topic, in row order.

    A dead letter is the outcome once more, without a key: it tells where the record lies for 30 days.
    """
    shard, seq = block.meta.shard, block.meta.seq
    spans = block.meta.sources
    topics = [span.topic for span in spans]
    # By source; the last entry is that of source -1, the platform's own rows, which nobody is told.
    told: list[list[Message] | None] = [[] if t.startswith(INTAKE_PREFIX) else None for t in topics]
    told.append(None)
    dead: list[Message] = []
    dates: dict[int, str] = {0: ""}
    columns = [block.rows.column(name).to_pylist() for name in _READ]
    for row, (
        source,
        offset,
        last_offset,
        verdict,
        uid,
        report_id,
        detail,
        reduction_mg,
        points_milli,
        balance_milli,
        tells_balance,
        expiry_day,
    ) in enumerate(zip(*columns, strict=True)):
        messages = told[source]
        if messages is None:
            continue
        if expiry_day not in dates:
            dates[expiry_day] = date_of_day(expiry_day).isoformat()
        key, code, topic = uid.encode() or None, CODES[verdict], topics[source]
        outcome = Outcome(
            VERSION, report_id, code, detail, reduction_mg, points_milli,
            balance_milli if tells_balance else 0, dates[expiry_day],
            topic, spans[source].topic_id, shard, offset, last_offset, shard, seq, row,
        )  # fmt: skip
        value = _encode(outcome)
        messages.append(Message(key, value))
        if verdict in DEAD_LETTER:
            dead.append(Message(None, value))
    out = {
        outcomes_topic(app_of(topic)): messages
        for topic, messages in zip(topics, told, strict=False)
        if messages
    }
    if replayed := _replayed(block):
        app, message, is_dead = replayed
        out.setdefault(outcomes_topic(app), []).append(message)
        dead += [Message(None, message.value)] * is_dead
    return out | {DEAD_LETTERS: dead} if dead else out


def _replayed(block: "Block") -> tuple[str, Message, bool] | None:
    """The outcome of a record that was decided once more, told to its app of the place where it stands, and
    whether it is a dead letter again. It is the last row, as any command's, and of the platform's source."""
    last = block.rows.num_rows - 1
    if block.rows.column("kind")[last].as_py() != Kind.REPLAY:
        return None
    [row] = block.rows.slice(last).to_pylist()
    place = msgspec.json.decode(row["inputs"], type=_Place)
    outcome = Outcome(
        VERSION, row["report_id"], CODES[row["verdict"]], row["detail"], row["reduction_mg"],
        row["points_milli"], row["balance_milli"] if row["tells_balance"] else 0,
        date_of_day(row["expiry_day"]).isoformat() if row["expiry_day"] else "",
        place.topic, place.topic_id, place.partition, place.offset, place.offset,
        block.meta.shard, block.meta.seq, last,
    )  # fmt: skip
    message = Message(row["uid"].encode() or None, _encode(outcome))
    return app_of(place.topic), message, row["verdict"] in DEAD_LETTER


class _Place(msgspec.Struct):
    topic: str
    topic_id: str
    partition: int
    offset: int


_READ = (
    "source",
    "offset",
    "last_offset",
    "verdict",
    "uid",
    "report_id",
    "detail",
    "reduction_mg",
    "points_milli",
    "balance_milli",
    "tells_balance",
    "expiry_day",
)
