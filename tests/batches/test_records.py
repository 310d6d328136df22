"""The fast parser says what the exact one says, or nothing."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.batches.records import FAST_RECORDS_MIN, RecordError, first_key, values_exact, values_fast
from tests.batches import making

NUMBERS = st.integers(-(1 << 20), 1 << 20) | st.integers(-3, 130)
VARINTS = st.builds(making.varint, NUMBERS, st.integers(1, 4))


@st.composite
def odd_records(draw: st.DrawFn, delta: int) -> bytes:
    """A record, right or nearly so: lengths, deltas, attributes and headers of any kind."""
    key, value = draw(st.none() | st.binary(max_size=70)), draw(st.none() | st.binary(max_size=70))
    if not draw(st.integers(0, 7)):
        delta = draw(NUMBERS)
    width = draw(st.sampled_from([1, 1, 1, 2, 3, 4]))
    body = bytes([draw(st.integers(0, 255))])
    body += making.varint(draw(st.integers(-(1 << 62), 1 << 62)), width) + making.varint(delta, width)
    for content in (key, value):
        size = -1 if content is None else len(content)
        if not draw(st.integers(0, 15)):
            size = draw(NUMBERS)
        body += making.varint(size, width) + (content or b"")
    body += draw(st.sampled_from([b"\0", b"\0", b"\0", b"\x02\x02k\x01", b"\x80\0", b"\x02", b""]))
    size = len(body) if draw(st.integers(0, 15)) else draw(NUMBERS)
    return making.varint(size, draw(st.sampled_from([1, 1, 2, 3, 4]))) + body


@st.composite
def payloads(draw: st.DrawFn) -> tuple[bytes, int]:
    count = draw(st.integers(1, 5))
    data = b"".join(draw(odd_records(delta)) for delta in range(count))
    cut = draw(st.sampled_from([0, 0, 0, 1, 2, 5]))
    return data[: len(data) - cut] + draw(st.sampled_from([b"", b"", b"\0", b"\x80"])), count


def exact(data: bytes, count: int) -> list[bytes] | None:
    try:
        return values_exact(data, count)
    except RecordError:
        return None


@given(payloads() | st.tuples(st.binary(max_size=60), st.integers(1, 5)))
@example((b"\x80\x80\x80", 1))
@example((b"\0", 1))
@example((making.varint(6) + b"\x80\x80\x80\x80\x80\x80", 1))
def test_the_fast_parser_agrees_with_the_exact_one(payload: tuple[bytes, int]) -> None:
    found = values_fast(*payload)
    assert found is None or found == exact(*payload)


@given(st.lists(st.none() | st.binary(max_size=300), min_size=1, max_size=80), st.integers(-9, 9))
def test_the_fast_parser_reads_what_producers_send(values: list[bytes | None], time_delta: int) -> None:
    data = b"".join(making.record(i, v, time_delta=i * time_delta) for i, v in enumerate(values))
    assert values_fast(data, len(values)) == [v or b"" for v in values] == exact(data, len(values))


# --- the exact one, byte by byte ---------------------------------------------------------------------------

FEWER, BEYOND, ORDER = (
    "fewer bytes than its records need",
    "a record beyond the end",
    "offsets of records out of order",
)
FIELD, UNFILLED, BEHIND = (
    "a field beyond its record",
    "a record that its fields do not fill",
    "bytes behind the last record",
)
HEADERS, NO_KEY, LONG = (
    "a number of headers that cannot be",
    "a header without a key",
    "a number of too many bytes",
)


def told(data: bytes, count: int = 1) -> list[bytes] | str:
    try:
        return values_exact(data, count)
    except RecordError as error:
        return str(error)


def framed(body: bytes, more: int = 0) -> bytes:
    """A record of this body, behind a length that is off by `more`."""
    return making.varint(len(body) + more) + body


def body(
    time: bytes = b"\0",
    delta: bytes = b"\0",
    key: bytes = b"\x02k",
    value: bytes = b"\x02v",
    headers: bytes = b"\0",
) -> bytes:
    return b"\0" + time + delta + key + value + headers


LEAST = framed(body(key=b"\x01", value=b"\x01"))  # no key, no value: seven bytes


@pytest.mark.parametrize(
    ("data", "count", "expected"),
    [
        (LEAST, 1, [b""]),
        (LEAST[:-1], 1, FEWER),
        (LEAST, 2, FEWER),
        (LEAST + making.record(1, None, key=None), 2, [b"", b""]),
        ((LEAST + making.record(1, None, key=None))[:-1], 2, FEWER),
        (LEAST + b"\0", 1, BEHIND),
        (framed(body()), 1, [b"v"]),
        (framed(body(), 1), 1, BEYOND),
        (framed(body(), -1), 1, UNFILLED),
        (framed(body()) + b"\0", 1, BEHIND),
        (framed(body(), 1) + b"\0", 1, UNFILLED),
        (making.varint(-1) + body(), 1, BEYOND),
        (making.varint(-2) + body(), 1, BEYOND),
        (making.varint(0) + body(), 1, FIELD),
        (making.varint(1) + body(), 1, FIELD),
        (framed(body(delta=b"\x02")), 1, ORDER),
        (framed(body(delta=b"\x01")), 1, ORDER),
        (framed(body(key=b"\x01")), 1, [b"v"]),
        (framed(body(key=b"\x03")), 1, [b"v"]),  # any length below 0 is that of none
        (framed(body(key=b"\0")), 1, [b"v"]),
        (framed(body(key=b"\x04kk")), 1, [b"v"]),
        (framed(body(value=b"\x01")), 1, [b""]),
        (framed(body(value=b"\x03")), 1, [b""]),
        (framed(body(value=b"\0")), 1, [b""]),
        (framed(body(value=b"\x04v")), 1, BEYOND),
        (framed(body(value=b"\x06v")), 1, FIELD),
        (framed(body(headers=b"\x02\0\0")), 1, [b"v"]),
        (framed(body(headers=b"\x02\x02k\x02v")), 1, [b"v"]),
        (framed(body(headers=b"\x02\x02k\x01")), 1, [b"v"]),
        (framed(body(headers=b"\x04\x02k\x01\0\0")), 1, [b"v"]),
        (framed(body(headers=b"\x02\x01\x01")), 1, NO_KEY),
        (framed(body(headers=b"\x02\x03\x01")), 1, NO_KEY),
        (framed(body(headers=b"\x01")), 1, HEADERS),
        (framed(body(headers=b"\x02")), 1, HEADERS),
        (framed(body(headers=b"\x02\0")), 1, BEYOND),
        (framed(body(headers=b"\x04\0\0")), 1, BEYOND),
        (framed(body(headers=b"\x06\0\0")), 1, HEADERS),
        (framed(body(delta=b"\x80\x80\x80\x80\0")), 1, [b"v"]),
        (framed(body(delta=b"\x80\x80\x80\x80\x80\0")), 1, LONG),
        (framed(body(delta=b"\x80\x80\x80\x80\x70")), 1, [b"v"]),  # 32 bits count
        (framed(body(delta=b"\x80\x80\x80\x80\x08")), 1, ORDER),
        (framed(body(time=b"\xff" * 9 + b"\x7f")), 1, [b"v"]),
        (framed(body(time=b"\xff" * 10 + b"\x7f")), 1, LONG),
        (framed(body(time=b"\x80" * 20)), 1, LONG),
        (b"\x80" * 7, 1, LONG),
        (b"\x0c" + b"\0" + b"\x80" * 5, 1, BEYOND),
    ],
)
def test_what_is_a_record_to_the_last_byte(data: bytes, count: int, expected: list[bytes] | str) -> None:
    assert told(data, count) == expected


@pytest.mark.parametrize("size", [63, 64, 65, 8_191, 8_192, 8_193, (1 << 20) - 20, 1 << 20])
def test_lengths_of_one_to_four_bytes(size: int) -> None:
    """As the length of a value and, a little more, of its record."""
    for more in range(-12, 3):
        values = [b"v" * (size + more), b"w"]
        assert told(making.records(values), 2) == values
        found = values_fast(making.records(values), 2)
        assert found in ([values] if size < 1 << 19 else [values, None])


def test_the_fast_parser_takes_no_length_of_four_bytes_for_one_of_three() -> None:
    """What follows three of its bytes is a whole record, too, if they were all."""
    value = b"v" * ((1 << 20) - 8)
    data = b"\x80\x80\x80" + b"\1" + b"\0\0\1" + making.varint(len(value)) + value + b"\0"
    assert len(data) == 3 + (1 << 20)
    assert values_fast(data, 1) is None
    assert exact(data, 1) is None


@pytest.mark.parametrize("headers", [0, 1, 63, 64, 65])
def test_any_number_of_headers_is_stepped_over(headers: int) -> None:
    data = making.records([b"a", b"b"], headers=[(b"k", b"v" * n) for n in range(headers)])
    assert told(data, 2) == [b"a", b"b"]
    assert values_fast(data, 2) == (None if headers else [b"a", b"b"])


@pytest.mark.parametrize("key", [None, b"", b"k", b"k" * 63, b"k" * 64, b"k" * 8_192])
def test_the_key_of_the_first_record(key: bytes | None) -> None:
    for time_delta in (0, 63, 64, 1 << 40):
        data = making.record(0, b"v", key=key, time_delta=time_delta)
        assert first_key(data) == (key or b"")
        assert first_key(data + b"behind") == (key or b"")
    for end in range(5):
        with pytest.raises(RecordError, match=BEYOND):
            first_key(framed(body())[:end])
    assert first_key(framed(body())[:5]) == b"", "what is there of it"
    assert first_key(framed(body())[:6]) == b"k"


@pytest.mark.parametrize("place", range(9))
def test_the_fast_parser_takes_no_byte_for_another(place: int) -> None:
    """Whatever stands at each place of a good record: what it gives is what the exact one gives."""
    good = framed(body()) + making.record(1, b"ww")
    for byte in range(256):
        data = good[:place] + bytes([byte]) + good[place + 1 :]
        found = values_fast(data, 2)
        assert found is None or found == exact(data, 2), byte
        if found is None:
            assert exact(data, 2) is None or byte >= 0x80 or place == 8, byte


def test_a_long_batch_with_one_odd_record_is_read_exactly() -> None:
    values = [b"v"] * FAST_RECORDS_MIN
    data = making.records(values) + making.record(FAST_RECORDS_MIN, b"w", headers=[(b"k", b"v")])
    assert values_fast(data, FAST_RECORDS_MIN + 1) is None
    assert exact(data, FAST_RECORDS_MIN + 1) == [*values, b"w"]
