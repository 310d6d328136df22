"""The closed list of verdicts: what can become of a record.

Every record gets exactly one. The order is the order of precedence: the first that applies is given.
Codes are stored in the ledger for ever; gaps leave room for verdicts of later kinds of record.
"""

from enum import IntEnum
from typing import NamedTuple


class Verdict(IntEnum):
    """Codes in order of precedence; `TABLE` says what each means."""

    TOO_LARGE = 1
    MALFORMED = 2
    UNSUPPORTED_VERSION = 3
    PERSONAL_DATA = 4
    FORBIDDEN_OPERATION = 5
    MISROUTED = 6
    APP_NOT_ACTIVE = 7
    DUPLICATE = 8
    OCCURRED_IN_FUTURE = 9
    OUTSIDE_VALIDITY = 10
    TOO_LATE = 11
    METHODOLOGY_UNKNOWN = 13  # 12 is kept for no_consent
    METHODOLOGY_NOT_IN_FORCE = 14
    SCENE_NOT_GRANTED = 15
    OUT_OF_REGION = 16
    ACTIVITY_INVALID = 17
    ALREADY_CLAIMED = 18
    RECORDED_ONLY = 19
    CAP_REACHED = 20
    CREDITED_IN_PART = 21
    CREDITED = 22
    UNREADABLE_BATCH = 40
    DELETED_UNREAD = 41
    INTERNAL_ERROR = 50
    COMMAND_APPLIED = 60
    EXPIRED = 61
    GENESIS = 62

    @property
    def code(self) -> str:
        """The name that apps and analysts see."""
        return self.name.lower()


class Meaning(NamedTuple):
    """One line of the table. `remembers_id`: the same report_id later is a duplicate.
    `takes_claim`: the same behaviour, reported under another id, is already_claimed.
    `dead_letter`: its coordinates go to topic dead-letters, where `points dead` finds them."""

    meaning: str
    app_should: str
    remembers_id: bool = False
    takes_claim: bool = False
    dead_letter: bool = False


_REPAIR = "repair the record and send it again under the same id"
_NEW_ID = "do not repeat; a corrected report needs a new id"

TABLE: dict[Verdict, Meaning] = {
    Verdict.TOO_LARGE: Meaning("the record is larger than 16 KiB", _REPAIR, dead_letter=True),
    Verdict.MALFORMED: Meaning(
        "not a record of the schema; detail names field and rule",
        "repair the record and send it again, under the same id unless the id is what is wrong",
        dead_letter=True,
    ),
    Verdict.UNSUPPORTED_VERSION: Meaning("the envelope's version is not 1", _REPAIR, dead_letter=True),
    Verdict.PERSONAL_DATA: Meaning(
        "a value is an ID or phone number",
        "remove it and send again",
        dead_letter=True,
    ),
    Verdict.FORBIDDEN_OPERATION: Meaning(
        "an app may not do this: transfer, bonus, expiry (管理办法 Art. 22-24)",
        "do not send it",
        dead_letter=True,
    ),
    Verdict.MISROUTED: Meaning(
        "the partition is not murmur2(uid) mod N",
        "set the producer's partitioner to murmur2 (librdkafka: murmur2_random), key = uid; send again",
        dead_letter=True,
    ),
    Verdict.APP_NOT_ACTIVE: Meaning(
        "the app is not registered or not active now", "ask the platform; then send again, same id"
    ),
    Verdict.DUPLICATE: Meaning(
        "this report_id was answered before",
        "nothing: the first answer stands; a record that was changed needs a new id",
    ),
    Verdict.OCCURRED_IN_FUTURE: Meaning(
        "occurred_at is more than 5 minutes ahead of the platform's time",
        "repair the clock; send again, same id",
    ),
    Verdict.OUTSIDE_VALIDITY: Meaning(
        "the behaviour's day is outside the regulation's validity", "do not repeat"
    ),
    Verdict.TOO_LATE: Meaning("the behaviour's day is more than 9 days past", "do not repeat"),
    Verdict.METHODOLOGY_UNKNOWN: Meaning(
        "no such methodology, or not granted to the app", _NEW_ID, remembers_id=True
    ),
    Verdict.METHODOLOGY_NOT_IN_FORCE: Meaning(
        "no version is in force on that day", _NEW_ID, remembers_id=True
    ),
    Verdict.SCENE_NOT_GRANTED: Meaning("scene_id is not granted to the app", _NEW_ID, remembers_id=True),
    Verdict.OUT_OF_REGION: Meaning("region is not one of the methodology's", _NEW_ID, remembers_id=True),
    Verdict.ACTIVITY_INVALID: Meaning(
        "the activity is missing, of another unit, or beyond the bounds", _NEW_ID, True
    ),
    Verdict.ALREADY_CLAIMED: Meaning(
        "this behaviour was credited under another report_id", "do not repeat", True
    ),
    Verdict.RECORDED_ONLY: Meaning(
        "households and micro-enterprises earn no points; reduction recorded", "nothing", True, True
    ),
    Verdict.CAP_REACHED: Meaning(
        "the person's points of that day are used up; reduction recorded", "nothing", True, True
    ),
    Verdict.CREDITED_IN_PART: Meaning(
        "credited up to the day's cap; reduction recorded in full", "nothing", True, True
    ),
    Verdict.CREDITED: Meaning("credited", "nothing", True, True),
    Verdict.UNREADABLE_BATCH: Meaning(
        "a batch of records, from offset to last_offset, is none that Kafka's clients can read",
        "repair the producer (codec, offsets, size: at most 65,536 records and 16 MiB unpacked); send its "
        "records again under the same ids",
        dead_letter=True,
    ),
    Verdict.DELETED_UNREAD: Meaning(
        "records from offset to last_offset were deleted before the platform could read them",
        "send them again under the same ids",
    ),
    Verdict.INTERNAL_ERROR: Meaning(
        "the platform failed on this record",
        "wait: the platform tells when to send it again",
        dead_letter=True,
    ),
    Verdict.COMMAND_APPLIED: Meaning("a command of the platform took effect at this row", "-"),
    Verdict.EXPIRED: Meaning("points of a lot expired (a row of the platform, not of a record)", "-"),
    Verdict.GENESIS: Meaning("the first row of a shard", "-"),
}

# Plain integers: an IntEnum member hashes by a call into Python, 0.3 us, several times a record.
REMEMBERS_ID = frozenset(int(v) for v, m in TABLE.items() if m.remembers_id)
TAKES_CLAIM = frozenset(int(v) for v, m in TABLE.items() if m.takes_claim)
DEAD_LETTER = frozenset(int(v) for v, m in TABLE.items() if m.dead_letter)
# What is kept of a record that was refused early: before `duplicate` at most its id, up to `no_consent` (12)
# also the person; all later verdicts keep every column.
KEEPS_NO_UID = frozenset(int(v) for v in Verdict if v < Verdict.DUPLICATE)
KEEPS_ID_ALONE = frozenset(int(v) for v in Verdict if v <= Verdict.TOO_LATE)
# The person's balance is told only where the app's report was judged, not where it was turned away before.
TELLS_BALANCE = frozenset(int(v) for v in Verdict if Verdict.DUPLICATE <= v <= Verdict.CREDITED)
CODES: dict[int, str] = {int(v): v.code for v in Verdict}

assert set(TABLE) == set(Verdict)
assert TAKES_CLAIM <= REMEMBERS_ID & TELLS_BALANCE
