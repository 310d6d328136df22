"""What an app sends: the envelope and the report 减排量报告, one JSON object per Kafka record.

The app is known from the topic, which only its own principal may write, never from the payload.
All amounts are integers in base units; a float, an unknown field, a missing one or one that stands twice
makes the record malformed.
"""

import datetime as dt
from typing import Annotated, Any, Literal, final, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

VERSION = 1
SHANGHAI = dt.timezone(dt.timedelta(hours=8), "Asia/Shanghai")  # no daylight saving since 1991
DAY_MS = 86_400_000
SHANGHAI_OFFSET_MS = 8 * 3_600_000
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MILLISECOND = dt.timedelta(milliseconds=1)


# Plain names: an id cannot carry spaces, JSON escapes or control characters into logs and tables.
NAME = r"[A-Za-z0-9._:-]{1,64}"
PATTERNS: dict[str, str] = {
    "uid": r"[0-9a-f]{32}",
    "report_id": r"[0-9]{8}-[A-Za-z0-9._:-]{1,55}",
    "methodology": NAME,
    "source_txn": NAME,
    "scene_id": NAME,
    "region": r"[0-9]{6}",
    "evidence_tier": NAME,
    "subject_type": r"(?:person|household|micro_enterprise)",
}
Instant = Annotated[dt.datetime, Meta(tz=True, description="RFC 3339 with seconds and offset")]
_End = Annotated[dt.datetime, Meta(tz=True, description="RFC 3339; from occurred_at to 24 hours after it")]
# Below 13000000000, the first mobile number: so no whole number that is kept can be one.
AMOUNT_MAX = 10**10
Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
Unit = Literal["distance_m", "energy_wh", "mass_g", "steps", "items"]
UNITS: tuple[str, ...] = get_args(Unit)


def _text(name: str, description: str, length_max: int = 64) -> Meta:
    # The pattern is published in the JSON Schema and enforced by schemas/codec.py, many records at a time:
    # msgspec's own check costs 0.3 us a field, two thirds of the whole decode.
    return Meta(
        min_length=1,
        max_length=length_max,
        description=description,
        extra_json_schema={"pattern": f"^{PATTERNS[name]}$"},
    )


_Uid = Annotated[str, _text("uid", "pseudonymous id of the person, the record's Kafka key", 32)]
_ReportId = Annotated[
    str, _text("report_id", "the app's own; starts with the behaviour's Shanghai day; unique for ever")
]
_MethodologyId = Annotated[str, _text("methodology", "id of a 方法学, such as SZ-METRO")]
_SourceTxn = Annotated[str, _text("source_txn", "the operator's own transaction, such as a gate's")]
_SceneId = Annotated[str, _text("scene_id", "id of a 碳普惠场景")]
_Region = Annotated[str, _text("region", "administrative division code", 6)]
_EvidenceTier = Annotated[str, _text("evidence_tier", "how the behaviour was observed")]
_SubjectType = Annotated[str, _text("subject_type", "whose behaviour; person if absent", 16)]


@final
class Report(Struct, forbid_unknown_fields=True, gc=False):
    """One behaviour of one person, as an app reports it (管理办法 Art. 21)."""

    version: Annotated[int, Meta(ge=VERSION, le=VERSION)]
    kind: Literal["report"]  # a field, not msgspec's tag, which a record may leave out
    uid: _Uid
    report_id: _ReportId
    methodology: _MethodologyId
    occurred_at: Instant
    activity: Annotated[
        dict[Unit, Amount],
        Meta(
            min_length=1,
            max_length=1,
            description="in the methodology's unit",
            extra_json_schema={"propertyNames": {"enum": list(UNITS)}},
        ),
    ]
    ended_at: _End | UnsetType = UNSET
    source_txn: _SourceTxn | UnsetType = UNSET
    scene_id: _SceneId | UnsetType = UNSET
    region: _Region | UnsetType = UNSET
    evidence_tier: _EvidenceTier | UnsetType = UNSET
    subject_type: _SubjectType | UnsetType = UNSET
    other_mechanism: bool | UnsetType = UNSET
    claimed_reduction_g: Amount | UnsetType = UNSET
    evidence: msgspec.Raw | UnsetType = UNSET


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
