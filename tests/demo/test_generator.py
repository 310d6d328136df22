"""What is sent is the same in every run, and every kind of fault is what its name says."""

import datetime as dt
import itertools
import json
from collections import Counter

import pytest

from loadtest.demo.generator import HONEST, Manifest, saturday_of
from loadtest.demo.reports import behaviours_of, saturdays, simulated_clock
from loadtest.demo.ridecode import Way
from loadtest.demo.taps import PACKAGED, read_taps
from schemas.codec import Refusal, read_report
from schemas.shards import shards_of
from schemas.verdicts import Verdict

SHARDS = 4
READ_AS = {
    "not_json": Verdict.MALFORMED,
    "float_distance": Verdict.MALFORMED,
    "unknown_field": Verdict.MALFORMED,
    "missing_field": Verdict.MALFORMED,
    "wrong_day": Verdict.MALFORMED,
    "distance_twice": Verdict.MALFORMED,
    "ended_before": Verdict.MALFORMED,
    "other_version": Verdict.UNSUPPORTED_VERSION,
    "too_large": Verdict.TOO_LARGE,
    "id_number": Verdict.PERSONAL_DATA,
    "phone_number": Verdict.PERSONAL_DATA,
    "phone_in_id": Verdict.PERSONAL_DATA,
    "forbidden_kind": Verdict.FORBIDDEN_OPERATION,
}


@pytest.fixture(scope="module")
def behaviours():
    return behaviours_of(read_taps(PACKAGED)).reported


@pytest.fixture(scope="module")
def two_saturdays(behaviours):
    first, second = saturdays()[:2]
    return [
        saturday_of(behaviours, first, SHARDS, is_first=True, is_last=False),
        saturday_of(behaviours, second, SHARDS, is_first=False, is_last=False),
    ]


def records_of(saturdays_sent):
    return list(itertools.chain.from_iterable(sent for s in saturdays_sent for sent in s.rounds))


def test_six_saturdays_across_a_month_end():
    days = saturdays()
    assert (days[0], days[-1], len(days)) == (dt.date(2024, 9, 7), dt.date(2024, 10, 12), 6)
    assert all(day.isoweekday() == 6 for day in days)


def test_the_same_in_every_run(behaviours, two_saturdays):
    again = saturday_of(behaviours, saturdays()[1], SHARDS, is_first=False, is_last=False)
    assert again == two_saturdays[1]


def test_every_kind_occurs_and_reads_as_it_should(two_saturdays):
    counts = Counter()
    for record in records_of(two_saturdays):
        read = read_report(record.value)
        counts[record.kind] += 1
        assert (read.verdict if isinstance(read, Refusal) else None) == READ_AS.get(record.kind), record.kind
    assert counts.keys() >= READ_AS.keys() | {
        "misrouted",
        "household",
        "kept_back",
        "sent_again_later",
        "other_content",
    }
    assert counts[HONEST] > 0.9 * counts.total()


def test_what_is_sent_again_is_the_same_bytes_later_in_the_same_apps_order(two_saturdays):
    for saturday in two_saturdays:
        sent = set()
        for record in records_of([saturday]):
            assert record.kind != "sent_again" or (record.app, record.value) in sent
            sent.add((record.app, record.value))


def test_what_is_sent_again_a_week_later_was_sent(two_saturdays):
    first = {record.value for record in records_of(two_saturdays[:1])}
    second = records_of(two_saturdays[1:])
    assert all(r.value in first for r in second if r.kind == "sent_again_later")
    assert not any(r.value in first for r in second if r.kind == "kept_back")


def test_misrouted_records_name_a_wrong_partition(two_saturdays):
    for record in records_of(two_saturdays):
        if record.kind == "misrouted":
            assert record.partition not in (None, *shards_of([record.uid], SHARDS))
        else:
            assert record.partition is None


def trip_of(record):
    return record.uid, json.loads(record.value)["source_txn"]


def test_ridecode_reports_one_metro_trip_of_eight_half_of_them_at_once_with_metro(behaviours, two_saturdays):
    by_way = Counter(r.kind for r in records_of(two_saturdays) if r.app == "ridecode")
    trips = 2 * sum(b.app == "metro" for b in behaviours)
    assert by_way.keys() == set(Way)
    assert by_way.total() == pytest.approx(trips / 8, rel=0.1)
    assert by_way[Way.AT_ONCE] == pytest.approx(by_way.total() / 2, rel=0.1)
    assert by_way[Way.BEFORE] == pytest.approx(by_way.total() / 8, rel=0.25)


def test_who_is_second_sends_in_the_second_round_and_who_races_in_the_same(two_saturdays):
    """So that everything but the races is the same in every run."""
    rounds_of = {Way.AFTER: (1, 0), Way.BEFORE: (0, 1), Way.AT_ONCE: (0, 0)}
    met = Counter()
    for saturday in two_saturdays:
        metro = {
            trip_of(r): number
            for number, sent in enumerate(saturday.rounds)
            for r in sent
            if (r.app, r.kind) == ("metro", HONEST)
        }
        for number, sent in enumerate(saturday.rounds):
            for record in sent:
                if record.app == "ridecode" and trip_of(record) in metro:
                    assert (number, metro[trip_of(record)]) == rounds_of[record.kind]
                    met[record.kind] += 1
    assert min(met[way] for way in Way) > 200


def test_what_both_apps_say_of_a_trip_differs_in_the_id_only(two_saturdays):
    metro = {trip_of(r): json.loads(r.value) for r in records_of(two_saturdays[:1]) if r.kind == HONEST}
    compared = 0
    for record in records_of(two_saturdays[:1]):
        if record.app == "ridecode" and (theirs := metro.get(trip_of(record))):
            ours = json.loads(record.value)
            assert {name for name in ours if ours[name] != theirs[name]} == {"report_id"}
            compared += 1
    assert compared > 1000


def test_a_households_trip_is_no_race(two_saturdays):
    """Its worth depends on which app is first, so that the person's sum could not be predicted."""
    households = {trip_of(r) for r in records_of(two_saturdays) if r.kind == "household"}
    raced = {trip_of(r) for r in records_of(two_saturdays) if r.kind == Way.AT_ONCE}
    assert len(households) > 50
    assert not households & raced


def test_one_shard_has_no_wrong_partition(behaviours):
    saturday = saturday_of(behaviours[:2000], saturdays()[0], 1, is_first=True, is_last=True)
    assert all(record.partition is None for record in records_of([saturday]))


def test_reports_are_not_in_the_future(behaviours, two_saturdays):
    assert simulated_clock(saturdays()[0], behaviours).isoformat() == "2024-09-07T12:00:00+08:00"
    for saturday in two_saturdays:
        for record in records_of([saturday]):
            if record.kind in (HONEST, *Way):
                occurred_at = json.loads(record.value)["occurred_at"]
                assert dt.datetime.fromisoformat(occurred_at) < saturday.clock


def test_taps_of_the_afternoon_are_reported_the_next_noon(taps_file):
    path = taps_file("AAA,2018-09-01 23:59:59,巴士,200,200,1,a,b")
    reported = behaviours_of(read_taps(path)).reported
    assert simulated_clock(saturdays()[0], reported).isoformat() == "2024-09-08T12:00:00+08:00"


def test_the_manifest_says_what_was_sent(tmp_path, two_saturdays):
    manifest = Manifest(tmp_path / "manifest.jsonl", SHARDS)
    manifest.add(two_saturdays[0])
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert [line["kind"] for line in lines[:2]] == ["run", "clock"]
    first, second = two_saturdays[0].rounds
    told = [line.get("value", line["kind"]).encode() for line in lines[2:]]
    assert told == [*(r.value for r in first), b"answered", *(r.value for r in second)]
    assert lines[2].keys() == {"kind", "saturday", "app", "line", "uid", "partition", "value"}
