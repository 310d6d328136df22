"""The order of a block's records, worked out from the rule alone, record by record."""

from schemas.block import Block, Span
from schemas.limits import ROWS_SHARE
from schemas.state import Head
from schemas.topics import COMMANDS, app_of
from tests.simulation.services import Violation
from tests.simulation.traffic import SHARDS

STEP_US = 500_000  # of 2 records a second, as the simulated genesis has it
BURST_US = SECOND_US = 1_000_000
BY_HEADER = "another number of records than of offsets"  # such a batch costs one row
MIDNIGHT_US = -8 * 3_600 * SECOND_US  # of day 0 in Shanghai


def check_fair_order(head: Head, block: Block, rows: list[dict]) -> None:
    """Raises `Violation` if the rows are not in the order of fair time, or are charged wrongly."""
    spans = block.meta.sources
    before = {s: _paid_us(head, span) for s, span in enumerate(spans)}
    paid, keys = dict(before), []
    for row in rows:
        s, broker_us = row["source"], row["broker_ms"] * 1_000
        begin_us = max(paid[s], broker_us)
        fair_us = max((begin_us - BURST_US) // SECOND_US * SECOND_US, broker_us)
        keys.append((fair_us, spans[s].topic != COMMANDS, spans[s].topic, row["offset"]))
        offsets = 1 if row["detail"].endswith(BY_HEADER) else row["last_offset"] - row["offset"] + 1
        paid[s] = begin_us + STEP_US * offsets
    if keys != sorted(keys):
        raise Violation(f"shard {block.meta.shard} block {block.meta.seq}: not in the order of fair time")
    latest_us = max((row["broker_ms"] for row in rows), default=0) * 1_000
    for s, span in enumerate(spans):
        charged = span.next > span.first
        least_us = max(latest_us, before[s])
        if charged and span.paid_us != paid[s] and not least_us <= span.paid_us < paid[s]:
            raise Violation(
                f"shard {block.meta.shard} block {block.meta.seq}: {span.topic} is charged wrongly"
            )


def _paid_us(head: Head, span: Span) -> int:
    """What a source had paid before the block: at least until midnight, if its quota was used up by then."""
    source, app = head.sources.get(span.topic), head.apps.get(app_of(span.topic))
    if source is None:
        return 0
    share = app.rows_per_day * ROWS_SHARE // SHARDS if app else None
    if share is None or source.day >= span.day or source.day_rows < share:
        return source.paid_us
    return max(source.paid_us, span.day * 24 * 3_600 * SECOND_US + MIDNIGHT_US)
