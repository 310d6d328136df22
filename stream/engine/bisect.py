"""Where `decide` itself fails: find the one record, give it `internal_error`, go on with the others.

`decide` is pure, so trying again costs time and nothing else. Many such records mean a broken release: stop.
"""

import structlog

from schemas.block import Block
from schemas.refusal import Refusal
from schemas.state import NO_LAGS, Head, Lag
from schemas.verdicts import Verdict
from sinks.ports import Snapshot
from stream.core.cycle_input import Cycle
from stream.core.decide import decide
from stream.core.platform import Platform
from stream.core.read import Reading
from stream.errors import OperatorError

log = structlog.get_logger()
INTERNAL_ERRORS_MAX = 8  # of one cycle: a record that breaks us is news, nine are a defect of ours


def decide_each(
    platform: Platform,
    head: Head,
    cycle: Cycle,
    reading: Reading,
    before: Snapshot,
    published_to: int,
    lags: dict[str, Lag] = NO_LAGS,
) -> Block:
    """`decide`, with every record on which it raises refused as `internal_error`. Raises `OperatorError`."""

    every = range(len(cycle.offset))

    def attempt(rows: range) -> Block:
        """Decides with all records outside `rows` blanked."""
        others = dict.fromkeys(set(every) - set(rows), Refusal(Verdict.INTERNAL_ERROR, "not tried"))
        tried = reading.without(others)
        return decide(platform, head, cycle, tried, before.persons, before.seen, published_to, lags)

    try:
        return decide(platform, head, cycle, reading, before.persons, before.seen, published_to, lags)
    except Exception as error:
        log.exception("decide failed; looking for the record", shard=cycle.shard, seq=head.seq + 1)
        bad = _find(attempt, every) if _succeeds(attempt, range(0)) else set()
        if not bad or len(bad) > INTERNAL_ERRORS_MAX:
            raise OperatorError(
                f"The decision fails on {len(bad) or 'no single one'} of {len(every)} records.",
                "go back to the release before; nothing was written, and nothing is skipped.",
            ) from error
    failed = dict.fromkeys(bad, Refusal(Verdict.INTERNAL_ERROR, "the platform failed on this record"))
    good = reading.without(failed)
    return decide(platform, head, cycle, good, before.persons, before.seen, published_to, lags)


def _find(attempt, rows: range) -> set[int]:
    """The rows on which `attempt` raises, each alone; more than the limit are not looked for to the end."""
    if _succeeds(attempt, rows):
        return set()
    if len(rows) == 1:
        return {rows[0]}
    half = len(rows) // 2
    bad = _find(attempt, rows[:half])
    return bad if len(bad) > INTERNAL_ERRORS_MAX else bad | _find(attempt, rows[half:])


def _succeeds(attempt, rows: range) -> bool:
    try:
        attempt(rows)
    except Exception:
        return False
    return True
