"""What an app sends: the envelope and the report 减排量报告, one JSON object per Kafka record.

The app is known from the topic, which only its own principal may write, never from the payload.
All amounts are integers in base units; a float, an unknown field, a missing one or one that stands twice
makes the record malformed.
"""

import datetime as dt
from typing import Annotated, Any, Literal, final, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from schemas.fields import Field, Keep, declared, required, text
from schemas.limits import EVIDENCE_BYTES_MAX

VERSION = 1
SHANGHAI = dt.timezone(dt.timedelta(hours=8), "Asia/Shanghai")  # no daylight saving since 1991
DAY_MS = 86_400_000
SHANGHAI_OFFSET_MS = 8 * 3_600_000
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MILLISECOND = dt.timedelta(milliseconds=1)


# Plain names: an id cannot carry spaces, JSON escapes or control characters into logs and tables.
NAME = r"[A-Za-z0-9._:-]{1,64}"
# Below 13000000000, the first mobile number: so no whole number that is kept can be one.
AMOUNT_MAX = 10**10
Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
Unit = Literal["distance_m", "energy_wh", "mass_g", "steps", "items"]
UNITS: tuple[str, ...] = get_args(Unit)
Instant = Annotated[dt.datetime, Meta(tz=True, description="RFC 3339 with seconds and offset")]
_End = Annotated[dt.datetime, Meta(tz=True, description="RFC 3339; from occurred_at to 24 hours after it")]
_INSTANT = "must be RFC 3339 with seconds and offset, such as 2024-10-01T08:30:00+08:00"
_UID = text(
    "pseudonymous id of the person, the record's Kafka key",
    "[0-9a-f]{32}",
    Keep.COLUMN,
    length_max=32,
    searched=False,
)
_REPORT_ID = text(
    "the app's own; starts with the behaviour's Shanghai day; unique for ever",
    r"[0-9]{8}-[A-Za-z0-9._:-]{1,55}",
    Keep.COLUMN,
    rule="; a repaired record needs another id",
)
_REGION = text("administrative division code", "[0-9]{6}", Keep.COLUMN, length_max=6, searched=False)
_SUBJECT_TYPE = text(
    "whose behaviour; person if absent",
    "(?:person|household|micro_enterprise)",
    Keep.INPUTS,
    length_max=16,
    searched=False,
)
_ACTIVITY = Meta(
    min_length=1,
    max_length=1,
    description="in the methodology's unit",
    extra_json_schema={"propertyNames": {"enum": list(UNITS)}},
)


@final
class Report(Struct, forbid_unknown_fields=True, gc=False):
    """One behaviour of one person, as an app reports it (管理办法 Art. 21)."""

    version: Annotated[int, Meta(ge=VERSION, le=VERSION), Field(f"must be {VERSION}", Keep.NOTHING)]
    # A field, not msgspec's tag, which a record may leave out.
    kind: Annotated[Literal["report"], Field("must be report", Keep.NOTHING, is_text=True)]
    uid: Annotated[str, *_UID]
    report_id: Annotated[str, *_REPORT_ID]
    methodology: Annotated[str, *text("id of a 方法学, such as SZ-METRO", NAME, Keep.COLUMN)]
    occurred_at: Annotated[Instant, Field(_INSTANT, Keep.COLUMN, is_text=True)]
    # Its unit's name has two quotes more; the columns are `unit` and `activity`.
    activity: Annotated[
        dict[Unit, Amount],
        _ACTIVITY,
        Field(f"must have exactly one of {', '.join(UNITS)}", Keep.COLUMN, is_text=True),
    ]
    ended_at: Annotated[_End, Field(_INSTANT, Keep.INPUTS, is_text=True)] | UnsetType = UNSET
    source_txn: (
        Annotated[str, *text("the operator's own transaction, such as a gate's", NAME, Keep.COLUMN)]
        | UnsetType
    ) = UNSET
    scene_id: Annotated[str, *text("id of a 碳普惠场景", NAME, Keep.INPUTS)] | UnsetType = UNSET
    region: Annotated[str, *_REGION] | UnsetType = UNSET
    evidence_tier: Annotated[str, *text("how the behaviour was observed", NAME, Keep.INPUTS)] | UnsetType = (
        UNSET
    )
    subject_type: Annotated[str, *_SUBJECT_TYPE] | UnsetType = UNSET
    other_mechanism: Annotated[bool, Field("must be true or false", Keep.INPUTS)] | UnsetType = UNSET
    claimed_reduction_g: (
        Annotated[Amount, Field(f"must be a whole number from 0 to {AMOUNT_MAX}", Keep.INPUTS)] | UnsetType
    ) = UNSET
    evidence: Annotated[msgspec.Raw, Field(f"at most {EVIDENCE_BYTES_MAX} bytes", Keep.HASH)] | UnsetType = (
        UNSET
    )


FIELDS = declared(Report)
REQUIRED = required(Report)
PATTERNS = {name: field.pattern for name, field in FIELDS.items() if field.pattern}


def to_ms(instant: dt.datetime) -> int:
    """Milliseconds since 1970-01-01 UTC, rounded down."""
    return (instant - EPOCH) // MILLISECOND


def shanghai_day(ms: int) -> int:
    """The Asia/Shanghai day of an instant, as days since 1970-01-01."""
    return (ms + SHANGHAI_OFFSET_MS) // DAY_MS


def day_of_date(date: dt.date) -> int:
    """Days since 1970-01-01."""
    return date.toordinal() - 719_163


def date_of_day(day: int) -> dt.date:
    """The calendar date of a day number."""
    return dt.date.fromordinal(day + 719_163)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a report, as published in schemas/json/report.schema.json."""
    return msgspec.json.schema(Report)
