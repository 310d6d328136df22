"""The order of a block's records, worked out from the rule alone, record by record."""

from fractions import Fraction

from schemas.block import Block
from schemas.state import Head
from schemas.topics import COMMANDS
from tests.simulation.services import Violation

STEP_US = 500_000  # of 2 records a second, as the simulated genesis has it
BURST_US = 1_000_000


def check_fair_order(head: Head, block: Block, rows: list[dict]) -> None:
    """Raises `Violation` if the rows are not in the order of fair time, or are charged wrongly."""
    spans = block.meta.sources
    paid = {
        s: Fraction(head.sources[span.topic].paid_us)
        for s, span in enumerate(spans)
        if span.topic in head.sources
    }
    keys = []
    for row in rows:
        s, broker_us = row["source"], row["broker_ms"] * 1_000
        begin_us = max(paid.get(s, Fraction(0)), broker_us)
        fair_us = max(begin_us - BURST_US, broker_us)
        keys.append((fair_us, spans[s].topic != COMMANDS, spans[s].topic, row["offset"]))
        paid[s] = begin_us + STEP_US * (row["last_offset"] - row["offset"] + 1)
    if keys != sorted(keys):
        raise Violation(f"shard {block.meta.shard} block {block.meta.seq}: not in the order of fair time")
    latest_us = max((row["broker_ms"] for row in rows), default=0) * 1_000
    for s, span in enumerate(spans):
        charged = span.next > span.first
        if charged and span.paid_us != paid[s] and not latest_us <= span.paid_us < paid[s]:
            raise Violation(
                f"shard {block.meta.shard} block {block.meta.seq}: {span.topic} is charged wrongly"
            )
