"""From a behaviour to the exact bytes that are sent, now or after any number of crashes. Pure."""

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from schemas.codec import read_report
from schemas.refusal import Refusal
from schemas.report import SHANGHAI, VERSION
from schemas.verdicts import Verdict
from sinks.app_client.errors import Refused

ID_BYTES = 20  # 160 bits: two different records never meet, and 32 characters fit the id's 55


class Record(NamedTuple):
    """One report as it is sent; `uid` is its Kafka key."""

    report_id: str
    uid: str
    value: bytes


def make_record(
    uid: str, methodology: str, occurred_at: dt.datetime, activity: Mapping[str, int], **optional: Any
) -> Record:
    """The report of a behaviour. `optional`: the other fields of docs/apps.md; one that is None is left out.

    The report_id is a hash of everything else that the report says. So the same behaviour gets the same id in
    every process, a repaired one gets a new id, as it must, and an outcome under an id speaks of these bytes.
    Raises `Refused` as the platform would, by the same code.
    """
    try:
        day = occurred_at.astimezone(SHANGHAI)
        aware = occurred_at.utcoffset() is not None
    except (AttributeError, OverflowError):
        aware = False
    if not aware:
        raise Refused(Verdict.MALFORMED, "occurred_at: must be a datetime with a UTC offset")
    fields = {"version": VERSION, "kind": "report", "uid": uid, "methodology": methodology}
    fields |= {"occurred_at": occurred_at, "activity": activity}
    fields |= {name: value for name, value in optional.items() if value is not None}
    digest = hashlib.sha256(_json(fields)).digest()[:ID_BYTES]
    # Base32, because hexadecimal digits in a row can look like an ID or phone number once in some millions.
    name = base64.b32encode(digest).decode().lower()
    return check_record(_json(fields | {"report_id": f"{day:%Y%m%d}-{name}"}))


def check_record(value: bytes) -> Record:
    """A ready-made report, checked as the platform checks it. Raises `Refused`."""
    report = read_report(value)
    if isinstance(report, Refusal):
        raise Refused(report.verdict, report.detail)
    return Record(report.report_id, report.uid, value)


def _json(fields: dict[str, Any]) -> bytes:
    """One text for the same fields, in whichever order they were given."""
    try:
        text = json.dumps(fields, default=_plain, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError) as error:  # the message of either may repeat a value
        raise Refused(Verdict.MALFORMED, "record: a value is no JSON") from error
    return text.encode()


def _plain(value: object) -> object:
    """Instants as one text each, whatever their zone; mappings of any kind."""
    if isinstance(value, dt.datetime):
        return (value.astimezone(SHANGHAI) if value.utcoffset() is not None else value).isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError
