"""What a record says, if it is a report at all, and where it belongs."""

import json
import re
from contextlib import suppress
from datetime import date, datetime, timedelta, timezone
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
REGIONS = [*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66)]
REGIONS += [71, 81, 82, 83]  # provinces and what is like one
BETWEEN = r"[^\S\n]*[._:/-]?[^\S\n]*"  # digits that somebody wrote in groups


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
        return isinstance(value, dict) and value.keys() <= UNITS and all(fits(int, v) for v in value.values())
    if form is int:
        return type(value) is int and 0 <= value <= 10**10
    return form is object or type(value) is form


def read_record(value):
    """(verdict, None) of a record that is no report, or (None, its fields)."""
    if len(value.encode()) > RECORD_BYTES_MAX:
        return "too_large", None
    try:
        record = json.loads(value, object_pairs_hook=Members)
    except (ValueError, TypeError):
        return "malformed", None
    if not isinstance(record, Members) or is_ambiguous(record, {"evidence"}):
        return "malformed", None
    if fits(int, record.get("version")) and record["version"] != 1:
        return "unsupported_version", None
    if record.get("kind") in FORBIDDEN_KINDS:
        return "forbidden_operation", None
    is_report = REQUIRED <= record.keys() <= FIELDS.keys()
    is_report = is_report and all(fits(FIELDS[n], v) for n, v in record.items())
    if not is_report or record["report_id"][:8] != f"{shanghai(record['occurred_at']):%Y%m%d}":
        return "malformed", None
    lasted = millisecond(record.get("ended_at", record["occurred_at"])) - millisecond(record["occurred_at"])
    if not timedelta(0) <= lasted <= timedelta(hours=24):
        return "malformed", None
    return ("personal_data", None) if is_personal(record) else (None, record)


class Members(dict):
    """A JSON object that remembers whether one of its names stands in it twice."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self.has_twice = len(self) < len(pairs)


def is_ambiguous(value, but=()):
    """Whether two readers could take different values from it; `but`: names that nobody looks under."""
    if isinstance(value, Members):
        return value.has_twice or any(is_ambiguous(inner) for n, inner in value.items() if n not in but)
    return isinstance(value, list) and any(map(is_ambiguous, value))


def is_personal(record):
    """Whether a line of a text that is kept, or anything in the evidence, is somebody's number."""
    looked_at = ("report_id", "methodology", "source_txn", "scene_id", "evidence_tier", "evidence")
    texts = [text for name in looked_at for text in leaves(record.get(name, ""))]
    return any(is_phone(line) or has_id_number(line) for text in texts for line in text.split("\n"))


def leaves(value):
    """Every name, text and number of a JSON value, as text."""
    if isinstance(value, dict):
        return [text for pair in value.items() for inner in pair for text in leaves(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in leaves(inner)]
    return [str(value).replace('"', "")]


def is_phone(line):
    """A mobile number as a whole line: 11 digits, or 3-4-4, behind a date, tel: and the country or not."""
    number = re.sub(r"^[0-9]{8}[._:/-]", "", line.strip(), count=1)
    number = re.sub(r"^tel:", "", number, flags=re.IGNORECASE).lstrip("(+")
    country = re.match(rf"(?:00)?86\)?{BETWEEN}", number)
    forms = [number, number[country.end() :]] if country else [number]
    forms += [re.sub(r"\.0+$", "", form) for form in forms]
    groups = [re.split(rf"(?=\D){BETWEEN}(?=\d)", form) for form in forms]
    shapes = [form for form in groups if [len(group) for group in form] in ([11], [3, 4, 4])]
    return any(re.fullmatch("1[3-9][0-9]{9}", "".join(shape)) for shape in shapes)


def has_id_number(line):
    """A resident ID number (GB 11643) of somebody born from 1900 to 2021, however its digits are grouped."""
    for found in re.findall(r"(?<![0-9])(?=((?:[0-9][\s._:/-]*){17}[0-9Xx])(?![0-9]))", line):
        number = re.sub("[^0-9Xx]", "", found)
        total = sum(int(digit) * pow(2, 17 - i, 11) for i, digit in enumerate(number[:17]))
        if int(number[:2]) in REGIONS and "10X98765432"[total % 11] == number[17].upper():
            with suppress(ValueError):  # no date
                if date(1900, 1, 1) <= datetime.strptime(number[6:14], "%Y%m%d").date() < date(2022, 1, 1):
                    return True
    return False


def millisecond(instant):
    """An instant without what is finer than a millisecond."""
    at = shanghai(instant)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


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
