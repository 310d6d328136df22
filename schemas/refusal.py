"""Why a record is no report, for the engineers of its app: field, place and rule, never what it holds."""

import difflib
import functools
import itertools
import re
from typing import NamedTuple, final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from schemas.kinds import COMMANDS, NAMES, Kind
from schemas.members import Member, members_of, twice_named
from schemas.personal_data import json_holds_personal_data
from schemas.report import AMOUNT_MAX, FIELDS, UNITS, VERSION
from schemas.verdicts import Verdict

# Points are neither moved nor cancelled by apps (管理办法 Art. 22-24).
_NOT_AN_APPS = frozenset({"transfer", "trade", "bonus", "credit", "debit", "write_off", "tick"})
# Counted, because where Python's recursion limit strikes depends on the caller's own depth, and the same
# bytes must get the same verdict in every run.
NESTED_MAX = 256
_AMOUNT = f"must be a whole number from 0 to {AMOUNT_MAX}"
_KINDS_OF_VALUE = {
    "int": "a whole number",
    "float": "a number with fraction or exponent",
    "str": "a text",
    "bool": "true or false",
    "null": "null; leave out what is not there",
    "object": "an object",
    "array": "an array",
}
_WIDE = "is UTF-16; send UTF-8"
_BEGINNINGS: dict[bytes, str] = {
    b"\xef\xbb\xbf": "begins with a byte order mark; send UTF-8 without one",
    **dict.fromkeys((b"\xff\xfe", b"\xfe\xff", b"{\x00", b"\x00{"), _WIDE),
    b"\x1f\x8b": "is compressed by gzip; send JSON and let the producer compress",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd; send JSON and let the producer compress",
    b"\x00": "begins with a zero byte, as a schema registry's serializer has it; send JSON alone",
}
_SYNTAX = re.compile(r"JSON is malformed: (.*) \(byte ([0-9]+)\)")
# Escapes one by one, so that a backslash is never taken for the next one's; group 1: half of a pair, alone.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.S
)
_WHOLE_NUMBER = re.compile(rb"-?[0-9]+")


@final
class Refusal(NamedTuple):
    """Why a record is no report: a verdict, and the field and rule that it broke (never a value)."""

    verdict: Verdict
    detail: str


class _Envelope(Struct):
    """What decides about a record of any version; all else need only be JSON."""

    version: Raw | UnsetType = UNSET
    kind: Raw | UnsetType = UNSET


@functools.cache
def forbidden_kinds(in_force: int) -> frozenset[str]:
    """Kinds that no app may send: what the platform itself says or does, as of a format, among them."""
    return _NOT_AN_APPS | {
        NAMES[kind]
        for kind in Kind
        if kind >= Kind.GENESIS and (kind not in COMMANDS or COMMANDS[kind].since <= in_force)
    }


def malformed(detail: str) -> Refusal:
    """A record that is not of the schema."""
    return Refusal(Verdict.MALFORMED, detail)


def too_nested(value: bytes) -> Refusal | None:
    """The refusal of a record with too many braces and brackets to be looked into."""
    if value.count(b"{") + value.count(b"[") > NESTED_MAX:
        return malformed(f"record: at most {NESTED_MAX} objects and arrays")
    return None


def refusal_of(value: bytes, error: Exception, in_force: int) -> Refusal:
    """The refusal of a value that `Report`'s decoder did not take, which it said by `error`."""
    if nested := too_nested(value):
        return nested
    if beginning := next((text for mark, text in _BEGINNINGS.items() if value.startswith(mark)), ""):
        return malformed(f"record: {beginning}")
    try:
        value.decode()
    except UnicodeDecodeError as no_text:
        return malformed(f"record: not UTF-8{_place(value, no_text.start)}")
    try:
        envelope = msgspec.json.decode(value, type=_Envelope)
    except msgspec.ValidationError:
        envelope = _Envelope()  # JSON, but no object
    except msgspec.DecodeError as no_json:
        return malformed(_syntax(value, str(no_json)))
    if other := _other_kind(value, envelope, in_force):
        return duplicate_name(value) or other
    return malformed(_rule(str(error), value))


def duplicate_name(value: bytes) -> Refusal | None:
    """The refusal of a record in which a name stands twice: readers of JSON differ in which one they take."""
    member = twice_named(members_of(value), opaque="evidence")
    if member is None:
        return None
    if member.depth == 1 and member.name in FIELDS:
        return malformed(f"{member.name}: stands twice")
    if member.depth == 2 and member.field == "activity" and member.name in UNITS:
        return malformed(f"activity.{member.name}: stands twice")
    return malformed(f"record: a name stands twice{_place(value, member.start)}")


def _other_kind(value: bytes, envelope: _Envelope, in_force: int) -> Refusal | None:
    """The refusal of what is not meant to be a report of this version."""
    version = b"" if envelope.version is UNSET else bytes(envelope.version)
    if _WHOLE_NUMBER.fullmatch(version) and version != b"%d" % VERSION:
        return Refusal(Verdict.UNSUPPORTED_VERSION, f"version: {FIELDS['version'].rule}")
    sent = b"" if envelope.kind is UNSET else bytes(envelope.kind)
    kind = msgspec.json.decode(sent, type=str) if sent.startswith(b'"') else ""
    if kind in forbidden_kinds(in_force):
        if json_holds_personal_data(value):
            return Refusal(Verdict.PERSONAL_DATA, "record: holds an ID or phone number")
        return Refusal(Verdict.FORBIDDEN_OPERATION, f"kind: no app may send {kind}")
    return None


def _syntax(value: bytes, message: str) -> str:
    """Why a text is no JSON."""
    if not value.strip():
        return "record: is empty"
    if half := next((escape for escape in _ESCAPE.finditer(value) if escape[1]), None):
        return f"record: half of a surrogate pair (\\ud800 to \\udfff){_place(value, half.start())}"
    if syntax := _SYNTAX.fullmatch(message):
        return f"record: not JSON: {syntax[1]}{_place(value, int(syntax[2]))}"
    return "record: not JSON: it ends too early"


def _place(value: bytes, position: int) -> str:
    """Where a byte stands, by the last name of the record itself before it."""
    names = [m.name for m in members_of(value[:position]) if m.depth == 1]
    return f" at byte {position}" + (f", after the name {names[-1]}" if names and names[-1] in FIELDS else "")


def _rule(message: str, value: bytes) -> str:
    """msgspec's message in our words, field first."""
    fault, _, path = message.partition(" - at `$")
    if fault.startswith("Object contains unknown field"):
        return _unknown_field(value)
    if fault.startswith("Object missing required field"):
        name = next((name for name in FIELDS if f"`{name}`" in fault), "record")
        return f"{name}: is missing; {FIELDS[name].rule}"
    if message.endswith(" in `$.activity`"):
        return f"activity: unknown unit; {FIELDS['activity'].rule}"
    _, _, got = fault.partition(", got ")
    told = f", not {_KINDS_OF_VALUE[got.strip('`')]}" if got.strip("`") in _KINDS_OF_VALUE else ""
    field = path.removeprefix(".").partition("[")[0].rstrip("`")
    if field not in FIELDS:
        apart = "; each report is a record of its own" if "array" in told else ""
        return f"record: must be an object{told}{apart}"
    if path.startswith(".activity["):
        units = [m.name for m in _first_members(value) if m.field == "activity" and m.depth == 2]
        unit = f".{units[0]}" if len(units) == 1 and units[0] in UNITS else ""
        return f"activity{unit}: {_AMOUNT}{told}"
    return f"{field}: {FIELDS[field].rule}{told}"


def _unknown_field(value: bytes) -> str:
    """Tells by its place which field is unknown, and which one may have been meant."""
    names = [m.name for m in _first_members(value) if m.depth == 1]
    number = next((n for n, name in enumerate(names) if name not in FIELDS), 0)
    place = f"number {number + 1}" + (f", after {names[number - 1]}" if number else "")
    absent = [name for name in FIELDS if name not in names]
    near = difflib.get_close_matches(names[number][:64], absent, 1, cutoff=0.75) if names else []
    return f"record: unknown field ({place})" + (f"; is {near[0]} meant?" if near else "")


def _first_members(value: bytes) -> list[Member]:
    """As many as are worth a look: a report has 16 fields."""
    return list(itertools.islice(members_of(value), 64))
