"""What a row keeps of its record: all of what was judged to the end, and only what finds it of the rest."""

import hashlib

import pytest

from schemas.command import decode_inputs, encode_command
from schemas.formats import NEWEST
from schemas.kinds import Kind
from schemas.kinds.clock import ClockCommand
from schemas.limits import FAIR_ROWS_S
from schemas.state import Person
from schemas.topics import COMMANDS
from schemas.verdicts import DEAD_LETTER, Verdict
from stream.batches.reader import Batch, Unreadable
from stream.core.apply import apply
from stream.core.cycle_input import Buffer
from stream.core.decide import decide
from stream.core.read import read_records
from tests.making import (
    APPS,
    BUS,
    METRO,
    NOON,
    NOON_MS,
    SOURCES,
    TODAY,
    TOPIC_IDS,
    adoption,
    clock,
    cycle,
    fetch,
    head,
    packed,
    platform,
    record,
    registered,
    source,
    uid,
)  # fmt: skip
from tests.unit.test_decide import DAY, ID_NUMBER, MADE, decided, decided_cycle, verdicts


@pytest.mark.parametrize("verdict", MADE, ids=lambda v: v.code)
def test_of_a_record_refused_early_only_what_finds_it_again_is_kept(verdict: Verdict) -> None:
    """Before `duplicate` at most its id, up to `too_late` also the person, then every column; no bytes."""
    (topic, value, *_), beside = MADE[verdict]
    row = decided(*MADE[verdict][:1], **beside).rows.to_pylist()[0]
    said = {name for name in SAID if row[name] not in (0, "", [])}
    if verdict == Verdict.COMMAND_APPLIED:
        assert said == {"inputs"}
    elif verdict <= Verdict.FORBIDDEN_OPERATION:
        assert said == set()
    elif verdict < Verdict.DUPLICATE:
        assert said == {"report_id"}
    elif verdict <= Verdict.TOO_LATE:
        assert said == {"report_id", "uid"}
    else:
        asked = {"inputs"} if b"scene_id" in value or b"subject_type" in value else set()
        asked |= {"region"} if b'"region"' in value else set()
        assert said == {*SAID} - {"inputs", "region"} | asked
    kept = (len(value), hashed(value)) if verdict in DEAD_LETTER else (0, "")
    assert (row["bytes_size"], row["bytes_hash"]) == kept
    assert topic in SOURCES


# What a report says of itself and the columns that follow from it alone.
SAID = (
    "uid", "report_id", "methodology", "occurred_ms", "unit", "activity", "source_txn", "region", "inputs",
    "certifiable",
)  # fmt: skip


def hashed(value: bytes) -> str:
    key = platform().dedupe_key
    return hashlib.blake2b(value, digest_size=16, key=key, person=b"refused bytes").hexdigest()


def test_equal_bytes_have_an_equal_hash_that_another_platform_cannot_guess() -> None:
    block = decided((METRO, b"junk"), (BUS, b"junk"), (METRO, b"junk "))
    one, same, other = block.rows.column("bytes_hash").to_pylist()
    assert one == same != other
    taken = cycle((METRO, b"junk"))
    place = platform()._replace(dedupe_key=b"another key")
    reading = read_records(taken, place.rules, place.dedupe_key, NEWEST)
    assert decide(place, head(), taken, reading, {}, set(), 3).rows.column("bytes_hash")[0].as_py() != one


def test_nothing_that_an_app_chose_is_quoted_of_a_refused_record() -> None:
    """Neither personal data nor anything else: keys, values, ids, whatever the verdict."""
    marked = "surprise-4711"
    for value in (
        record(version=2, n=ID_NUMBER),
        record(n=ID_NUMBER),
        b"junk " + ID_NUMBER.encode(),
        record(phone="13800138000"),
        record(source_txn=ID_NUMBER),
        b'{"a":"13800138000"}' * 2_000,
        record(**{marked: 1}),
        record(kind=marked),
        record(version=marked),
        record(report_id=marked),
        record(methodology=f"{marked}/"),
        record(activity={marked: 1}),
        record(activity={"distance_m": marked}),
        record(subject_type=marked),
    ):
        kept = str(decided((METRO, value)).rows.to_pylist())
        for text in (ID_NUMBER, "13800138000", marked):
            assert text not in kept, value


def test_a_report_under_another_mechanism_is_not_certifiable() -> None:
    """管理办法 Art. 16; an expiry and a refused record certify nothing either."""
    block = decided(
        (METRO, record("a", other_mechanism=True)), (METRO, record("b", other_mechanism=False)),
        (METRO, record("c")), (METRO, b"junk"), persons={uid(): Person({TODAY - 1: 5})},
    )  # fmt: skip
    assert verdicts(block) == ["expired", "credited", "credited", "credited", "malformed"]
    assert block.rows.column("certifiable").to_pylist() == [0, 0, 1, 1, 0]


def test_every_row_says_what_spoke() -> None:
    persons = {uid(): Person({TODAY - 1: 5})}
    block = decided((METRO, record()), (METRO, b"junk"), (COMMANDS, clock(NOON + DAY)), persons=persons)
    assert [Kind(k) for k in block.rows.column("kind").to_pylist()] == [
        Kind.EXPIRY, Kind.REPORT, Kind.NONE, Kind.CLOCK,
    ]  # fmt: skip
    for topic, value, kind in (
        (METRO, clock(NOON), Kind.NONE), (COMMANDS, record(), Kind.NONE),
        (COMMANDS, adoption(METRO, TOPIC_IDS[METRO], 0), Kind.ADOPT),
        (COMMANDS, registered(APPS["bus"]), Kind.APP),
    ):  # fmt: skip
        assert decided((topic, value)).rows.column("kind").to_pylist() == [kind]


def test_who_gave_a_command_and_why_stands_in_its_row() -> None:
    said = ClockCommand(at=NOON + DAY, by="li", approved_by="wang", reason="drill")
    row = decided((COMMANDS, encode_command(said))).rows.to_pylist()[0]
    assert (row["by"], row["approved_by"], row["reason"]) == ("li", "wang", "drill")
    assert decode_inputs(row["inputs"], ClockCommand).at == said.at
    refused = decided((COMMANDS, encode_command(said)), simulated_clock=False).rows.to_pylist()[0]
    assert (refused["by"], refused["reason"]) == ("li", "drill"), "also of one that was refused"
    # On the report in front of it nothing is said of that.
    both = decided((METRO, record()), (COMMANDS, encode_command(said))).rows
    assert both.column("by").to_pylist() == ["", "li"]


def test_a_batch_that_cannot_be_read_is_one_row_and_its_neighbours_are_decided() -> None:
    buffer = Buffer(0, {METRO: source(0)}, FAIR_ROWS_S)
    bad = Unreadable("zstd", "more records than a batch may have")
    refused = Batch(1, 2**31, NOON_MS, 7, 4, b"", bad)
    buffer.add(fetch(METRO, [packed(0, record("a")), refused, packed(2**31, record("b"))]))
    block = decided_cycle(buffer.take(head(), TODAY), head())
    assert verdicts(block) == ["credited", "unreadable_batch", "credited"]
    row = block.rows.to_pylist()[1]
    assert (row["offset"], row["last_offset"]) == (1, 2**31 - 1)
    assert row["detail"] == "batch: zstd: more records than a batch may have"
    assert (row["bytes_size"], row["bytes_hash"], row["kind"]) == (0, "", Kind.NONE)
    assert apply(block, head(), {}, 9).head.sources[METRO].next == 2**31 + 1
