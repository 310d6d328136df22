"""The fast parser says what the exact one says, or nothing."""

from hypothesis import example, given
from hypothesis import strategies as st

from stream.batches.records import FAST_RECORDS_MIN, RecordError, values_exact, values_fast
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


def test_a_long_batch_with_one_odd_record_is_read_exactly() -> None:
    values = [b"v"] * FAST_RECORDS_MIN
    data = making.records(values) + making.record(FAST_RECORDS_MIN, b"w", headers=[(b"k", b"v")])
    assert values_fast(data, FAST_RECORDS_MIN + 1) is None
    assert exact(data, FAST_RECORDS_MIN + 1) == [*values, b"w"]
