"""What an engineer is told of each refused record: the field, the place, the rule, and never its content."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import Refusal, read_report
from schemas.formats import NEWEST
from schemas.kinds import COMMANDS, NAMES, Kind
from schemas.limits import FAIR_ROWS_S
from schemas.members import members_of
from schemas.outcome import messages_of
from schemas.refusal import NESTED_MAX, forbidden_kinds
from schemas.report import AMOUNT_MAX
from schemas.state import Source
from schemas.verdicts import Verdict
from stream.core.cycle_input import Buffer
from stream.core.decide import decide
from stream.core.read import read_records
from tests.making import METRO, TODAY, fetch, fields, head, packed, platform, record, uid

GOOD = record()
OTHER = record(version=2)
LAST = b"txn-a"
AMOUNT = f"must be a whole number from 0 to {AMOUNT_MAX}"
INSTANT = "must be RFC 3339 with seconds and offset, such as 2024-10-01T08:30:00+08:00"
UNITS = "must have exactly one of distance_m, energy_wh, mass_g, steps, items"
NAME = "must match [A-Za-z0-9._:-]{1,64}"
REPORT_ID = "must match [0-9]{8}-[A-Za-z0-9._:-]{1,55}; a repaired record needs another id"
DAY = (
    "must start with the Asia/Shanghai day of occurred_at; if the time was wrong, repair it under the same"
    " id, else the record needs another id"
)


def activity(raw: str) -> bytes:
    return GOOD.replace(b'{"distance_m": 1000}', raw.encode())


def unknown(*front: str, name: str = "zq") -> bytes:
    """A record with an unknown field behind some known ones."""
    known = fields()
    before = {key: known.pop(key) for key in front}
    return json.dumps(before | {name: 1} | known).encode()


def without(name: str, *more: str) -> bytes:
    return record(**dict.fromkeys((name, *more)))


TOLD: dict[bytes, str] = {
    # No JSON at all: what it is instead.
    b"": "record: is empty",
    b" \n": "record: is empty",
    b"\xef\xbb\xbf" + GOOD: "record: begins with a byte order mark; send UTF-8 without one",
    GOOD.decode().encode("utf-16"): "record: is UTF-16; send UTF-8",
    GOOD.decode().encode("utf-16-le"): "record: is UTF-16; send UTF-8",
    GOOD.decode().encode("utf-16-be"): "record: is UTF-16; send UTF-8",
    gzip.compress(GOOD): "record: is compressed by gzip; send JSON and let the producer compress",
    b"\x28\xb5\x2f\xfd\x04": "record: is compressed by zstd; send JSON and let the producer compress",
    b"\0\0\0\0\1" + GOOD:
        "record: begins with a zero byte, as a schema registry's serializer has it; send JSON alone",
    "{\"a\":\"中\"}".encode("gbk"): "record: not UTF-8 at byte 6",
    GOOD.replace(LAST, b"\xffxn"): "record: not UTF-8 at byte 223, after the name source_txn",
    record(evidence="zq").replace(b'"zq"', b'"\xff"'): "evidence: not UTF-8",
    # JSON, but for one place.
    GOOD[:-1]: "record: not JSON: it ends too early",
    GOOD + b"x": "record: not JSON: trailing characters at byte 231, after the name source_txn",
    GOOD[:-1] + b",}": "record: not JSON: trailing comma in object at byte 230, after the name source_txn",
    GOOD.replace(LAST, b"a\nb"): "record: not JSON: invalid character at byte 224, after the name source_txn",
    GOOD.replace(b"1000", b"NaN"): "record: not JSON: invalid character at byte 201, after the name activity",
    GOOD.replace(b'"', b"'"): "record: not JSON: object keys must be strings at byte 1",
    GOOD.replace(b'_txn"', b'_txn"\v'):
        "record: not JSON: expected ':' at byte 220, after the name activity",
    activity('["uid": 1]'): "record: not JSON: expected ',' or ']' at byte 192, after the name activity",
    GOOD.replace(LAST, rb"\ud800"):
        r"record: half of a surrogate pair (\ud800 to \udfff) at byte 223, after the name source_txn",
    GOOD.replace(LAST, rb"\\\udc00"):
        r"record: half of a surrogate pair (\ud800 to \udfff) at byte 225, after the name source_txn",
    GOOD.replace(LAST, rb"\ud83d\ude00"): f"source_txn: {NAME}",
    GOOD.replace(LAST, rb"\\ud800"): f"source_txn: {NAME}",
    b"[" + GOOD + b"]": "record: must be an object, not an array; each report is a record of its own",
    json.dumps(GOOD.decode()).encode(): "record: must be an object, not a text",
    b"12": "record: must be an object, not a whole number",
    b'{"a":' + b"[" * NESTED_MAX + b"]" * NESTED_MAX + b"}": "record: at most 256 objects and arrays",
    # Names.
    unknown("version", "kind", "uid"): "record: unknown field (number 4, after uid)",
    unknown(): "record: unknown field (number 1)",
    unknown("version", name="versio"): "record: unknown field (number 2, after version)",
    unknown(name="versoin").replace(b', "version": 1', b""):
        "record: unknown field (number 1); is version meant?",
    record(source_txn=None, sourc_txn="x"):
        "record: unknown field (number 8, after activity); is source_txn meant?",
    GOOD[:-1] + b',"zq":{"uid":1}}': "record: unknown field (number 9, after source_txn)",
    GOOD[:-1] + b',"uid":"x"}': "uid: stands twice",
    OTHER[:-1] + b',"zq":1,"zq":2}': "record: a name stands twice at byte 237",
    OTHER[:-1] + b',"evidence_tier":{"zq":1,"zq":2}}':
        "record: a name stands twice at byte 254, after the name evidence_tier",
    # A name that stands twice is told if it is one of ours, where it stands as ours.
    OTHER[:-1] + b',"zq":{"uid":1,"uid":2}}': "record: a name stands twice at byte 244",
    OTHER[:-1] + b',"zq":{"steps":1,"steps":2}}': "record: a name stands twice at byte 246",
    OTHER.replace(b'"distance_m": 1000', b'"zq": {"steps": 1, "steps": 2}'):
        "record: a name stands twice at byte 206, after the name activity",
    OTHER.replace(b'"distance_m": 1000', b'"zq": 1, "zq": 2'):
        "record: a name stands twice at byte 196, after the name activity",
    without("kind"): "kind: is missing; must be report",
    without("uid"): "uid: is missing; must match [0-9a-f]{32}",
    without("activity"): f"activity: is missing; {UNITS}",
    without("occurred_at"): f"occurred_at: is missing; {INSTANT}",
    # Values.
    record(version="1"): "version: must be 1, not a text",
    record(version=1.0): "version: must be 1, not a number with fraction or exponent",
    record(kind="consent"): "kind: must be report",
    record(kind=5): "kind: must be report, not a whole number",
    record(uid=uid().upper()): "uid: must match [0-9a-f]{32}",
    record(uid=uid() + "0"): "uid: must match [0-9a-f]{32}",
    record(region="44030"): "region: must match [0-9]{6}",
    record(region=440304): "region: must match [0-9]{6}, not a whole number",
    GOOD[:-1] + b',"region":null}': "region: must match [0-9]{6}, not null; leave out what is not there",
    record(report_id="20240907"): f"report_id: {REPORT_ID}",
    record(report_id=""): f"report_id: {REPORT_ID}",
    record(report_id="20240907-" + "a" * 56): f"report_id: {REPORT_ID}",
    record(report_id="20240906-a"): f"report_id: {DAY}",
    record(source_txn="a b"): f"source_txn: {NAME}",
    record(subject_type="robot"): "subject_type: must match (?:person|household|micro_enterprise)",
    record(occurred_at="2024-09-07T12:00:00"): f"occurred_at: {INSTANT}",
    record(occurred_at="2024-09-07T12:00+08:00"): f"occurred_at: {INSTANT}",
    record(occurred_at=1725681600): f"occurred_at: {INSTANT}, not a whole number",
    record(ended_at="12:00"): f"ended_at: {INSTANT}",
    record(ended_at="2024-09-07T11:59:59+08:00"): "ended_at: must be from occurred_at to 24 hours after it",
    activity('{"distance_m": 7250.5}'):
        f"activity.distance_m: {AMOUNT}, not a number with fraction or exponent",
    activity('{"distance_m": 1e3}'): f"activity.distance_m: {AMOUNT}, not a number with fraction or exponent",
    activity('{"distance_m": 1e400}'): f"activity.distance_m: {AMOUNT}",
    activity('{"distance_m": %s}' % ("9" * 5_000)): f"activity.distance_m: {AMOUNT}",
    activity('{"steps": -1}'): f"activity.steps: {AMOUNT}",
    activity('{"steps": -1}')[:-1] + b',"evidence":{"items":1}}': f"activity.steps: {AMOUNT}",
    activity('{"steps": "5"}'): f"activity.steps: {AMOUNT}, not a text",
    activity('{"steps": null}'): f"activity.steps: {AMOUNT}, not null; leave out what is not there",
    activity('{"km": 5}'): f"activity: unknown unit; {UNITS}",
    activity('{"steps": 5, "items": 6}'): f"activity: {UNITS}",
    activity('{"steps": 5, "items": "6"}'): f"activity: {AMOUNT}, not a text",
    activity("{}"): f"activity: {UNITS}",
    activity("[5]"): f"activity: {UNITS}, not an array",
    record(other_mechanism=1): "other_mechanism: must be true or false, not a whole number",
    record(claimed_reduction_g=0.5):
        f"claimed_reduction_g: {AMOUNT}, not a number with fraction or exponent",
    GOOD[:-1] + b',"claimed_reduction_g":1e400}': f"claimed_reduction_g: {AMOUNT}",
    record(evidence="e" * 2_047): "evidence: at most 2048 bytes",
}  # fmt: skip


@pytest.mark.parametrize(("value", "detail"), TOLD.items(), ids=range(len(TOLD)))
def test_a_malformed_record_is_told_field_place_and_rule(value: bytes, detail: str) -> None:
    assert read_report(value) == Refusal(Verdict.MALFORMED, detail)


@pytest.mark.parametrize(
    ("value", "verdict", "detail"),
    [
        (record(version=2), Verdict.UNSUPPORTED_VERSION, "version: must be 1"),
        (record(version=-1, uid=5), Verdict.UNSUPPORTED_VERSION, "version: must be 1"),
        (record(version=2, a=0).replace(b": 0", b": 1e400"), Verdict.UNSUPPORTED_VERSION,
         "version: must be 1"),
        (record(kind="bonus"), Verdict.FORBIDDEN_OPERATION, "kind: no app may send bonus"),
        (record(kind="trade", points=1.5), Verdict.FORBIDDEN_OPERATION, "kind: no app may send trade"),
    ],
)  # fmt: skip
def test_what_is_not_meant_to_be_a_report_is_told_first(value: bytes, verdict: Verdict, detail: str) -> None:
    assert read_report(value) == Refusal(verdict, detail)


@pytest.mark.parametrize(("kind", "since"), [(kind, command.since) for kind, command in COMMANDS.items()])
def test_a_command_is_the_platforms_alone_as_of_the_format_that_brought_it(kind: Kind, since: int) -> None:
    """Before, its name is one like any other, as a release from before answers, too."""
    assert NAMES[kind] in forbidden_kinds(since)
    assert NAMES[kind] not in forbidden_kinds(since - 1)
    assert {"genesis", "expiry", "bonus"} <= forbidden_kinds(since - 1)


# --- never what the app wrote ---------------------------------------------------------------------------

MARK = "qzx"  # in none of our own words
marks = st.text("abcdefghij", min_size=3, max_size=12).map(lambda text: MARK + text)
EVERYTHING = fields() | {
    "ended_at": "2024-09-07T12:00:00+08:00", "region": "440304", "scene_id": "metro-gate",
    "evidence_tier": "gate", "subject_type": "person", "other_mechanism": False, "claimed_reduction_g": 7,
    "evidence": {"a": [1, "b"]},
}  # fmt: skip
PLACES = [*EVERYTHING, "unit", "amount", "in evidence", "name in evidence"]


def marked(mark: str, place: str, wrong: dict) -> dict:
    """A full report with a mark in one place, and something else wrong."""
    report = EVERYTHING | wrong
    if place == "unit":
        return report | {"activity": {mark: 5}}
    if place == "amount":
        return report | {"activity": {"distance_m": mark}}
    if place.endswith("in evidence"):
        return report | {"evidence": {mark: 1} if place.startswith("name") else [{"a": mark}]}
    return report | {place: f"20240907-{mark}" if place == "report_id" else mark}


def renamed(report: dict, place: str, name: str) -> dict:
    """The report with a field's name changed."""
    return {name if key == place else key: said for key, said in report.items()}


@settings(max_examples=500, deadline=None)
@given(
    mark=marks,
    place=st.sampled_from(PLACES),
    as_name=st.booleans(),
    wrong=st.sampled_from(
        [{}, {"version": 2}, {"version": "1"}, {"kind": "transfer"}, {"uid": 5}, {"region": "110000"},
         {"methodology": "SZ-WALK"}, {"scene_id": "other"}, {"activity": {"steps": 5}}, {"activity": {}},
         {"occurred_at": "2024-08-01T12:00:00+08:00", "ended_at": "2024-08-01T12:00:00+08:00"},
         {"source_txn": "13800138000"}, {"evidence": "x" * 2_100}, {"evidence": "x" * 17_000}]
    ),
    spoil=st.sampled_from(["", "cut", "twice", "byte", "surrogate", "utf-16", "array", "text", "tail", "0"]),
    app=st.sampled_from([METRO, f"intake.{MARK}"]),
    shard=st.integers(0, 1),
)  # fmt: skip
def test_no_detail_holds_anything_that_the_app_wrote(
    mark: str, place: str, as_name: bool, wrong: dict, spoil: str, app: str, shard: int
) -> None:
    """Through everything that can tell a detail: reading, deciding, and what is published of it."""
    report = marked(mark, place, wrong)
    if as_name and place in EVERYTHING:
        report = renamed(EVERYTHING | wrong, place, mark)
    value = json.dumps(report).encode()
    spoilt = {
        "cut": value[:-1], "twice": value[:-1] + b',"%s":1,"%s":2}' % (mark.encode(), mark.encode()),
        "byte": value.replace(MARK.encode(), MARK.encode() + b"\xff"), "tail": value + mark.encode(),
        "surrogate": value.replace(MARK.encode(), MARK.encode() + rb"\ud800"),
        "utf-16": value.decode().encode("utf-16"), "array": b"[%s]" % value,
        "text": json.dumps(value.decode()).encode(), "0": b"\0" + value,
    }.get(spoil, value)  # fmt: skip
    for detail in details_of(spoilt, app, shard):
        assert MARK not in detail.lower()


def details_of(value: bytes, topic: str, shard: int) -> list[str]:
    """The details that are published when a record is sent twice."""
    buffer = Buffer(shard, {topic: Source("made-by-a-test", 0)}, FAIR_ROWS_S)
    buffer.add(fetch(topic, [packed(0, value, value)], shard=shard))
    place, cycle = platform(), buffer.take(head(), TODAY)
    reading = read_records(cycle, place.rules, place.dedupe_key, NEWEST)
    published = messages_of(decide(place, head(), cycle, reading, {}, set(), 0))
    told = [
        json.loads(m.value) for name, messages in published.items() for m in messages if "outcomes." in name
    ]
    assert len(told) == 2
    return [outcome["detail"] for outcome in told]


# --- where a name stands --------------------------------------------------------------------------------

texts = st.text(st.sampled_from('a:"\\{}[], é\u0001'), max_size=5)
nested = st.recursive(
    st.none() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


def names_in(value: object) -> list[str]:
    """The names of a decoded text, in their order."""
    if isinstance(value, dict):
        return [name for key, inner in value.items() for name in (key, *names_in(inner))]
    return [name for inner in value for name in names_in(inner)] if isinstance(value, list) else []


@settings(max_examples=300, deadline=None)
@given(nested, st.booleans(), st.sampled_from([None, 1]))
def test_every_name_is_found_with_its_place(value: object, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    members = list(members_of(text))
    assert [m.name for m in members] == names_in(value)
    assert all(text[m.start : m.start + 1] == b'"' for m in members)
    assert [m.name for m in members if m.depth == 1] == (list(value) if isinstance(value, dict) else []) or (
        isinstance(value, list)
    )


@given(st.binary(max_size=60) | st.text('{}":a\\', max_size=40).map(str.encode))
def test_names_are_looked_for_in_any_bytes(value: bytes) -> None:
    list(members_of(value))


def test_a_long_text_that_is_no_json_is_not_looked_at_twice() -> None:
    """A search that begins anew at each byte would take minutes."""
    for tail in (b'"' + b"a" * 16_000, b'":' * 8_000, b"{" * 255 + b'"a' * 8_000):
        assert isinstance(read_report(b'{"a":1,' + tail), Refusal)
