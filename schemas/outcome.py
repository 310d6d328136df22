"""What an app is told about each of its records, and what is kept of the refused ones.

Both are made from a block by pure functions, so they can be made again at any time, byte for byte.
An app drops a (shard, seq, row) that it has seen: outcomes are published at least once.
"""

from typing import NamedTuple

import orjson

from schemas.block import Block
from schemas.report import date_of_day
from schemas.topics import DEAD_LETTERS, INTAKE_PREFIX, app_of, outcomes_topic
from schemas.verdicts import CODES


class Message(NamedTuple):
    """One Kafka record to publish, into the partition that is the block's shard."""

    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


def messages_of(block: Block) -> dict[str, list[Message]]:
    """All outcomes and dead letters of a block, by topic, in row order."""
    out: dict[str, list[Message]] = {}
    shard, seq = block.meta.shard, block.meta.seq
    topics = [span.topic for span in block.meta.sources]
    rows = {name: block.rows.column(name).to_pylist() for name in _READ}
    dates: dict[int, str] = {0: ""}
    for row, (
        source,
        offset,
        verdict,
        uid,
        report_id,
        detail,
        reduction,
        points,
        balance,
        day,
        raw,
    ) in enumerate(zip(*rows.values(), strict=True)):
        if source < 0 or not topics[source].startswith(INTAKE_PREFIX):
            continue
        topic = topics[source]
        outcome = {
            "version": 1,
            "report_id": report_id,
            "verdict": CODES[verdict],
            "detail": detail,
            "reduction_mg": reduction,
            "points_milli": points,
            "balance_milli": balance,
            "expires_on": dates.get(day) or dates.setdefault(day, date_of_day(day).isoformat()),
            "topic": topic,
            "partition": shard,
            "offset": offset,
            "shard": shard,
            "seq": seq,
            "row": row,
        }
        key = uid.encode() or None
        out.setdefault(outcomes_topic(app_of(topic)), []).append(Message(key, orjson.dumps(outcome), []))
        if raw:
            headers = [
                (k, str(outcome[k]).encode()) for k in ("topic", "partition", "offset", "verdict", "detail")
            ]
            headers += [("block", f"{shard}/{seq}/{row}".encode())]
            out.setdefault(DEAD_LETTERS, []).append(Message(key, raw, headers))
    return out


_READ = (
    "source",
    "offset",
    "verdict",
    "uid",
    "report_id",
    "detail",
    "reduction_mg",
    "points_milli",
    "balance_milli",
    "expiry_day",
    "raw",
)
