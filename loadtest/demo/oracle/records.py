"""What a record says, if it is a report at all, and where it belongs."""

import json
import re
from datetime import datetime, timedelta, timezone
from functools import cache

RECORD_BYTES_MAX = 16_384
FORBIDDEN_KINDS = {"transfer", "trade", "bonus", "credit", "debit", "expiry", "write_off", "clock", "tick"}
SHANGHAI = timezone(timedelta(hours=8))
UNITS = {"distance_m", "energy_wh", "mass_g", "steps", "items"}
REQUIRED = {"version", "kind", "uid", "report_id", "methodology", "occurred_at", "activity"}
FIELDS = {
    **dict.fromkeys(("methodology", "source_txn", "scene_id", "evidence_tier"), r"[\w.:-]{1,64}"),
    **dict.fromkeys(("occurred_at", "ended_at"), datetime),
    **dict.fromkeys(("version", "claimed_reduction_g"), int),
    "kind": "report",
    "uid": "[0-9a-f]{32}",
    "report_id": r"[0-9]{8}-[\w.:-]{1,55}",
    "activity": dict,
    "region": "[0-9]{6}",
    "subject_type": "person|household|micro_enterprise",
    "other_mechanism": bool,
    "evidence": object,
}
PHONE = re.compile(r'(?:^|["\n])(?:\+?86)?1[3-9][0-9]{9}(?:$|["\n])')
ID_NUMBER = re.compile(r"(?<![0-9])[1-9][0-9]{16}[0-9Xx](?![0-9])")


def fits(form, value):
    """Whether a value has a field's form: a pattern, a time with offset, an amount, amounts by unit."""
    if isinstance(form, str):
        return isinstance(value, str) and re.fullmatch(form, value, re.ASCII) is not None
    if form is datetime:
        try:
            return datetime.fromisoformat(value).tzinfo is not None
        except (ValueError, TypeError):
            return False
    if form is dict:
        return type(value) is dict and value.keys() <= UNITS and all(fits(int, v) for v in value.values())
    if form is int:
        return type(value) is int and 0 <= value <= 10**12
    return form is object or type(value) is form


def read_record(value):
    """(verdict, None) of a record that is no report, or (None, its fields)."""
    if len(value.encode()) > RECORD_BYTES_MAX:
        return "too_large", None
    try:
        record = dict(json.loads(value))
    except (ValueError, TypeError):
        return "malformed", None
    if fits(int, record.get("version")) and record["version"] != 1:
        return "unsupported_version", None
    if record.get("kind") in FORBIDDEN_KINDS:
        return "forbidden_operation", None
    is_report = REQUIRED <= record.keys() <= FIELDS.keys()
    is_report = is_report and all(fits(FIELDS[n], v) for n, v in record.items())
    if not is_report or record["report_id"][:8] != f"{shanghai(record['occurred_at']):%Y%m%d}":
        return "malformed", None
    return ("personal_data", None) if is_personal(record) else (None, record)


def is_personal(record):
    """A mobile number as a whole value, or a resident ID number (GB 11643) anywhere."""
    texts = [record.get(n, "") for n in ("report_id", "source_txn", "scene_id", "evidence_tier")]
    joined = "\n".join([*texts, json.dumps(record["evidence"])] if "evidence" in record else texts)
    for number in ID_NUMBER.findall(joined):
        total = sum(int(digit) * pow(2, 17 - i, 11) for i, digit in enumerate(number[:17]))
        if "10X98765432"[total % 11] == number[17].upper():
            return True
    return PHONE.search(joined) is not None


def shanghai(instant):
    """A time of the manifest, on Shanghai's clocks."""
    return datetime.fromisoformat(instant).astimezone(SHANGHAI)


@cache
def shard_of(uid, shards):
    """The partition that Kafka's own clients choose for a key: murmur2 of its 32 bytes."""
    h = 0x9747B28C ^ 32
    for start in range(0, 32, 4):
        k = int.from_bytes(uid[start : start + 4].encode(), "little") * 0x5BD1E995 & 0xFFFFFFFF
        h = (h * 0x5BD1E995 ^ (k ^ k >> 24) * 0x5BD1E995) & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return ((h ^ h >> 15) & 0x7FFFFFFF) % shards
