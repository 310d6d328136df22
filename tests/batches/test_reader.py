"""What a fetch's bytes become: batches, values, or one reason for a whole batch."""

import struct
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.limits import BATCH_RECORDS_MAX, BATCH_UNPACKED_BYTES_MAX
from stream.batches.fetch import Fetch
from stream.batches.reader import NO_TIME_MS, Batch, Damaged, Unreadable, batches_of, begins, values_of
from stream.batches.unpack import CODECS
from tests.batches import making

VALUES = [b'{"version": 1}', b"", None, "碳积分".encode(), bytes(range(256))]
SEEN = [value or b"" for value in VALUES]


def one(data: bytes) -> Batch:
    [batch] = batches_of(making.fetch(data))
    return batch


def refusal(data: bytes) -> Unreadable:
    found = values_of(one(data))
    assert isinstance(found, Unreadable), found
    return found


@pytest.mark.parametrize("codec", range(5), ids=CODECS)
def test_the_values_of_a_batch_come_out_as_they_went_in(codec: int) -> None:
    batch = one(making.of(VALUES, codec, base=7))
    assert batch[:5] == (7, 12, making.BROKER_MS, 5, codec)
    assert values_of(batch) == SEEN


@pytest.mark.parametrize("count", [1, 39, 40, 41, 64, 65, 8192, 8193, BATCH_RECORDS_MAX])
def test_batches_of_any_size_are_read(count: int) -> None:
    values = [b"%d" % i for i in range(count)]
    assert values_of(one(making.of(values, making.ZSTD))) == values


def test_header_keys_are_never_decoded() -> None:
    headers = [("来源".encode("gbk"), b"x"), (b"", None)]
    assert values_of(one(making.batch(making.records(SEEN, headers), 5))) == SEEN


def test_numbers_may_be_longer_than_need_be_as_in_java() -> None:
    body = b"\xff" + making.varint(-1, 10) + making.varint(0, 5) + making.varint(-1, 3)
    body += making.varint(1, 5) + b"v" + making.varint(0, 4)
    assert values_of(one(making.batch(making.varint(len(body), 5) + body, 1))) == [b"v"]
    body = b"\0\0" + making.varint(0, 6) + b"\x01\x02v\0"
    assert refusal(making.batch(making.varint(len(body)) + body, 1)).reason == "a number of too many bytes"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (making.of([b"v"], attributes=0), "no time of the broker"),
        (making.batch(making.records(SEEN), 5, offsets=6), "another number of records than of offsets"),
        (making.batch(making.records(SEEN), 4, offsets=5), "another number of records than of offsets"),
        (making.batch(making.records(SEEN), 5, codec=5), "unknown codec"),
        (making.batch(b"", BATCH_RECORDS_MAX + 1), "more records than a batch may have"),
        (making.batch(b"", 2**31 - 1), "more records than a batch may have"),
        (making.batch(making.records(SEEN), 6), "a record beyond the end"),
        (making.batch(making.records(SEEN), 4), "bytes behind the last record"),
        (making.batch(making.records(SEEN) + b"\0", 5), "bytes behind the last record"),
        (making.batch(b"", 1), "fewer bytes than its records need"),
        (making.batch(making.record(5, b"v") + making.record(3, b"v"), 2), "offsets of records out of order"),
        (making.batch(making.record(0, b"v") + making.record(0, b"v"), 2), "offsets of records out of order"),
        (making.batch(making.records(SEEN)[:-1], 5), "a record beyond the end"),
        (making.batch(making.varint(7) + b"\0\0\0\x01\x01\0\0", 1), "a record that its fields do not fill"),
        (
            making.batch(making.varint(6) + b"\0\0\0\x01\x04\0" + making.record(1, b"v"), 2),
            "a field beyond its record",
        ),
        (making.batch(making.varint(6) + b"\0\0\0\x01\x01\x01", 1), "a number of headers that cannot be"),
        (making.batch(making.varint(7) + b"\0\0\0\x01\x01\x02\x01", 1), "a header without a key"),
        (making.batch(b"rubbish", 1, making.GZIP), "damaged"),
        (making.batch(b"", 1, making.ZSTD), "fewer bytes than its records need"),
    ],
)
def test_what_is_not_exactly_its_records_is_unreadable_for_a_reason(data: bytes, reason: str) -> None:
    assert refusal(data).reason == reason


def test_a_batch_that_the_broker_gave_no_time_has_none() -> None:
    batch = one(making.of([b"v"], attributes=0, broker_ms=1 << 62))
    assert batch.broker_ms == NO_TIME_MS
    assert batch.refused == ("none", "no time of the broker")


@pytest.mark.parametrize("codec", range(5), ids=CODECS)
def test_no_more_is_unpacked_than_the_limit(codec: int) -> None:
    overhead = len(making.record(0, bytes(BATCH_UNPACKED_BYTES_MAX - 64))) - (BATCH_UNPACKED_BYTES_MAX - 64)
    fits = bytes(BATCH_UNPACKED_BYTES_MAX - overhead)
    assert values_of(one(making.of([fits], codec))) == [fits]
    assert refusal(making.of([fits + b"\0"], codec)).reason == "unpacks to more bytes than a batch may have"


# --- a fetch ------------------------------------------------------------------------------------------------


def test_a_fetch_is_read_from_where_it_was_to_continue() -> None:
    batches = [making.of([b"v"] * 3, base=base) for base in (10, 13, 16)]
    assert [b.base for b in batches_of(making.fetch(*batches, first=10))] == [10, 13, 16]
    assert [b.base for b in batches_of(making.fetch(*batches, first=14))] == [13, 16]
    assert [b.base for b in batches_of(making.fetch(*batches, first=16))] == [16]


@given(st.integers(0, 400))
def test_a_piece_of_a_batch_at_the_end_is_left_for_the_next_fetch(cut: int) -> None:
    whole, piece = making.of([b"v"] * 3), making.of([b"w" * 300], base=3)
    assert [b.base for b in batches_of(making.fetch(whole, piece[: min(cut, len(piece) - 1)]))] == [0]


def test_a_piece_of_any_length_is_left() -> None:
    whole, piece = making.of([b"v"] * 3), making.of([b"w"] * 9, base=3)
    for cut in range(len(piece)):
        assert [b.base for b in batches_of(making.fetch(whole, piece[:cut]))] == [0]
    assert batches_of(making.fetch()) == [], "a fetch of nothing lacks nothing"


@pytest.mark.parametrize(("begins_at", "seen"), [(0, []), (1, [0]), (2, [0, 1]), (3, [0, 1])])
def test_a_transaction_is_aborted_from_its_own_first_offset_on(begins_at: int, seen: list[int]) -> None:
    attributes = making.LOG_APPEND_TIME | making.TRANSACTIONAL
    of_one = [making.of([b"v"], base=n, attributes=attributes, producer=(1, 0, n)) for n in range(2)]
    assert [b.base for b in batches_of(making.fetch(*of_one, aborted=[(1, begins_at)]))] == seen


def test_what_is_of_no_transaction_is_not_aborted() -> None:
    beside = making.of([b"v"], producer=(1, 0, 0))
    assert len(batches_of(making.fetch(beside, aborted=[(1, 0)]))) == 1


@pytest.mark.parametrize(
    ("key", "ends"),
    [
        (bytes(4), True),
        (bytes(4) + b"\1", True),
        (b"\0\0\0\1", False),
        (b"\0\0\1\0", False),
        (b"\0\1\0\0", True),
    ],
)
def test_the_marker_of_an_abort_is_of_type_0_whatever_its_version(key: bytes, ends: bool) -> None:
    control = making.LOG_APPEND_TIME | making.TRANSACTIONAL | making.CONTROL
    marker = making.batch(making.record(0, b"", key=key), 1, attributes=control, producer=(1, 0, -1))
    attributes = making.LOG_APPEND_TIME | making.TRANSACTIONAL
    following = making.of([b"v"], base=1, attributes=attributes, producer=(1, 0, 0))
    assert len(batches_of(making.fetch(marker, following, aborted=[(1, 0)]))) == int(ends)


@pytest.mark.parametrize("key", [None, b"", bytes(3)])
def test_a_marker_that_does_not_say_what_it_marks_is_damaged(key: bytes | None) -> None:
    control = making.LOG_APPEND_TIME | making.CONTROL
    with pytest.raises(Damaged, match="does not say what it marks"):
        batches_of(making.fetch(making.batch(making.record(0, b"", key=key), 1, attributes=control)))


def test_a_length_is_at_least_that_of_a_header() -> None:
    empty = making.batch(b"", 1)
    assert len(batches_of(making.fetch(empty))) == 1
    for length in (len(empty) - 13, 0, -1, -100):
        with pytest.raises(Damaged, match="shorter than a header"):
            batches_of(making.fetch(empty[:8] + struct.pack(">i", length) + empty[12:]))


def test_offsets_do_not_run_backwards() -> None:
    for delta, good in ((0, True), (-1, False)):
        data = making.with_crc(GOOD[:23] + struct.pack(">i", delta) + GOOD[27:])
        if good:
            assert one(data).next == 1
        else:
            with pytest.raises(Damaged, match="does not continue"):
                batches_of(making.fetch(data))


def test_where_records_stand_in_a_fetch() -> None:
    """Of batches and of single records, as the ledger's reader has them."""
    packed = one(making.of([b"v"] * 4, base=10))
    single = SimpleNamespace(offset=7, timestamp=99)
    ms = making.BROKER_MS
    assert Fetch("t", 0, 12, 14, [packed]).extents == [(12, 14, ms)]
    assert Fetch("t", 0, 10, 14, [packed]).extents == Fetch("t", 0, 3, 14, [packed]).extents == [(10, 14, ms)]
    assert Fetch("t", 0, 5, 8, [single]).extents == [(7, 8, 99)]


def test_aborted_transactions_and_markers_have_no_values() -> None:
    def of(base: int, producer: int) -> bytes:
        attributes = making.LOG_APPEND_TIME | making.TRANSACTIONAL
        return making.of([b"v", b"w"], base=base, attributes=attributes, producer=(producer, 0, 0))

    batches = [
        of(0, 1),  # aborted at 6
        of(2, 2),  # committed at 9
        making.of([b"v", b"w"], base=4),
        making.marker(6, 1, commit=False),
        of(7, 1),  # the next transaction of the same producer
        making.marker(9, 2, commit=True),
        making.marker(10, 1, commit=True),
    ]
    fetch = making.fetch(*batches, aborted=[(1, 0)])
    assert [b.base for b in batches_of(fetch)] == [2, 4, 7]
    assert [b.base for b in batches_of(making.fetch(*batches))] == [0, 2, 4, 7]


def test_where_a_fetch_begins_tells_what_the_log_lacks() -> None:
    fetch = making.fetch(making.of([b"v"], base=12), first=10)
    assert begins(fetch) == 12
    assert [b.base for b in batches_of(fetch)] == [12]


GOOD = making.of([b"v"] * 3)


@pytest.mark.parametrize(
    "data",
    [
        GOOD[:30] + bytes([GOOD[30] ^ 1]) + GOOD[31:],
        GOOD[:-1] + b"?",
        making.of([b"v"], magic=1),
        making.with_crc(GOOD[:23] + struct.pack(">i", -2) + GOOD[27:]),
        GOOD[:8] + struct.pack(">i", 48) + GOOD[12:],
        GOOD[:8] + struct.pack(">i", -1) + GOOD[12:],
        GOOD[:40],
        GOOD + GOOD,
        GOOD + making.of([b"v"], base=2),
        GOOD + making.of([b"v"], base=4),
        making.batch(b"rubbish", 1, attributes=making.LOG_APPEND_TIME | making.CONTROL),
    ],
    ids=[
        "header", "payload", "magic", "span", "too short", "length below 0", "no whole batch", "again",
        "overlap", "gap", "control batch",
    ],
)  # fmt: skip
def test_what_the_broker_did_not_write_so_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        batches_of(making.fetch(data))
