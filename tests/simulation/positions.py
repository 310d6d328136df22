"""Where a shard's sources stand, folded from the ledger alone."""

import json

from schemas.block import Block
from schemas.kinds import Kind
from schemas.topics import COMMANDS, intake_topic
from schemas.verdicts import Verdict


def move(positions: dict[str, tuple[str, int]], block: Block) -> None:
    """Where the sources of a shard stand after an accepted block, read off its rows."""
    spans = block.meta.sources
    for row in block.rows.select(["kind", "verdict", "source", "last_offset", "inputs"]).to_pylist():
        if row["source"] >= 0 and row["verdict"] != Verdict.DELETED_UNREAD:
            span = spans[row["source"]]
            positions[span.topic] = (span.topic_id, row["last_offset"] + 1)
        if row["verdict"] != Verdict.COMMAND_APPLIED:
            continue
        said = json.loads(row["inputs"])
        if row["kind"] == Kind.APP:
            topic = intake_topic(said["app"]["id"])
            positions.setdefault(topic, (said["app"]["topic_id"], 0))
        elif row["kind"] == Kind.ADOPT and said["topic"] != COMMANDS:
            positions[said["topic"]] = (said["topic_id"], said["first"])
    if block.meta.genesis:
        positions[COMMANDS] = (spans[0].topic_id, 0)
