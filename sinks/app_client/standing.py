"""What a verdict means for the record that got it: what the client does by itself, and what the app must."""

from enum import Enum
from typing import NamedTuple

import msgspec

from schemas.outcome import Outcome
from schemas.verdicts import Verdict


class Standing(Enum):
    """How a record stands after a verdict."""

    RECORDED = "the reduction is recorded"
    COUNTED = "this behaviour is counted already, under another id"
    REPEATED = "this id was answered before; the first answer stands"
    RETRIED = "the client sends the same bytes again by itself"
    HELD = "report it again, unchanged, once what stands in the way is gone"
    REFUSED = "never, as it is; a repaired record is another one"
    UNKNOWN = "this client cannot tell; ask the platform, by the id"


STANDING: dict[Verdict, Standing] = {
    Verdict.TOO_LARGE: Standing.REFUSED,
    Verdict.MALFORMED: Standing.REFUSED,
    Verdict.UNSUPPORTED_VERSION: Standing.REFUSED,
    Verdict.PERSONAL_DATA: Standing.REFUSED,
    Verdict.FORBIDDEN_OPERATION: Standing.REFUSED,
    Verdict.MISROUTED: Standing.HELD,  # the topic has another number of partitions than the platform
    Verdict.APP_NOT_ACTIVE: Standing.RETRIED,
    Verdict.DUPLICATE: Standing.REPEATED,
    Verdict.OCCURRED_IN_FUTURE: Standing.RETRIED,
    Verdict.OUTSIDE_VALIDITY: Standing.REFUSED,
    Verdict.TOO_LATE: Standing.REFUSED,
    Verdict.METHODOLOGY_UNKNOWN: Standing.REFUSED,
    Verdict.METHODOLOGY_NOT_IN_FORCE: Standing.REFUSED,
    Verdict.SCENE_NOT_GRANTED: Standing.REFUSED,
    Verdict.OUT_OF_REGION: Standing.REFUSED,
    Verdict.ACTIVITY_INVALID: Standing.REFUSED,
    Verdict.ALREADY_CLAIMED: Standing.COUNTED,
    Verdict.RECORDED_ONLY: Standing.RECORDED,
    Verdict.CAP_REACHED: Standing.RECORDED,
    Verdict.CREDITED_IN_PART: Standing.RECORDED,
    Verdict.CREDITED: Standing.RECORDED,
    # This client's batches are readable: if one was damaged on its way, its records are none the worse.
    Verdict.UNREADABLE_BATCH: Standing.RETRIED,
    Verdict.DELETED_UNREAD: Standing.RETRIED,
    # Not retried: it is a defect of the platform, whose worker halts when it meets many of them.
    Verdict.INTERNAL_ERROR: Standing.HELD,
}
_BY_CODE = {verdict.code: standing for verdict, standing in STANDING.items()}
# Not a verdict of the platform's: nobody read the outcome in the 30 days for which it was there.
EXPIRED = "outcome_expired"
# After these the same bytes may get another verdict.
SENT_AGAIN = (Standing.RETRIED, Standing.HELD)
RETRY_FIRST_MS = 60_000
RETRY_MAX_MS = 3_600_000  # until the 9 days of `too_late` are over, which is a final answer


class Answer(NamedTuple):
    """What became of a record; the fields of an outcome are explained in docs/apps.md."""

    report_id: str
    standing: Standing
    verdict: str
    detail: str
    reduction_mg: int
    points_milli: int
    balance_milli: int
    expires_on: str


def standing_of(code: str) -> Standing:
    """The standing after a verdict's code; UNKNOWN for a code of a later platform."""
    return _BY_CODE.get(code, Standing.UNKNOWN)


def state_after(standing: Standing, own_place: bool) -> str | None:
    """The state of an unanswered record after an outcome of one of its copies; None: as it was.

    `own_place`: the broker had told us where this copy lies. Otherwise its delivery report was lost; then a
    later copy is there or will be, as such a record goes out again. Copies are decided in the order in which
    they were sent. So if this one has left the id unused, the later one has the last word; if it has used it
    up, this is the answer: `duplicate` is one only if the id was used before all of them.
    It does not matter how often an outcome is published: none changes anything twice.
    """
    if standing in SENT_AGAIN and not own_place:
        return None
    return "queued" if standing is Standing.RETRIED else "answered"


def retry_delay_ms(tries: int) -> int:
    """How long to wait before the next copy, after `tries` retries."""
    return min(RETRY_FIRST_MS << min(tries, 10), RETRY_MAX_MS)


decode_outcome = msgspec.json.Decoder(Outcome).decode


def answer_of(report_id: str, outcome: bytes) -> Answer:
    """The answer that an outcome is."""
    o = decode_outcome(outcome)
    return Answer(
        report_id,
        standing_of(o.verdict),
        o.verdict,
        o.detail,
        o.reduction_mg,
        o.points_milli,
        o.balance_milli,
        o.expires_on,
    )
