"""The order of a block's records, worked out from the rule alone, record by record."""

from itertools import product

from schemas.block import Block, Span
from schemas.report import DAY_MS, SHANGHAI_OFFSET_MS
from schemas.state import Head
from schemas.topics import COMMANDS
from tests.simulation.services import Violation

STEP_US = 500_000  # of 2 records a second, as the simulated genesis has it
BURST_US = SECOND_US = 1_000_000


def check_fair_order(head: Head, block: Block, rows: list[dict]) -> None:
    """Raises `Violation` if the rows are not in the order of fair time, or are charged wrongly.

    A source whose quota of rows was used up begins its next day as if its records came then: as the quota of
    that moment is not known here, both are tried.
    """
    spans = block.meta.sources
    known = {s: head.sources[span.topic] for s, span in enumerate(spans) if span.topic in head.sources}
    renewed = [s for s, source in known.items() if source.day < spans[s].day]
    for chosen in product((False, True), repeat=len(renewed)):
        paid = {s: source.paid_us for s, source in known.items()}
        for s, quota_was_used_up in zip(renewed, chosen, strict=True):
            if quota_was_used_up:
                paid[s] = max(paid[s], (spans[s].day * DAY_MS - SHANGHAI_OFFSET_MS) * 1_000)
        if _is_in_order(spans, rows, paid):
            return
    raise Violation(f"shard {block.meta.shard} block {block.meta.seq}: not in the order of fair time")


def _is_in_order(spans: list[Span], rows: list[dict], paid: dict[int, int]) -> bool:
    keys = []
    for row in rows:
        s, broker_us = row["source"], row["broker_ms"] * 1_000
        if spans[s].topic == COMMANDS:  # the platform is never put off
            keys.append((broker_us, False, COMMANDS, row["offset"]))
            continue
        begin_us = max(paid.get(s, 0), broker_us)
        put_off_us = (begin_us - BURST_US) // SECOND_US * SECOND_US
        keys.append((max(put_off_us, broker_us), True, spans[s].topic, row["offset"]))
        paid[s] = begin_us + STEP_US * row["costs"]
    charged = all(span.paid_us <= paid[s] for s, span in enumerate(spans) if span.next > span.first)
    return charged and keys == sorted(keys)
