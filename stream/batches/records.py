"""The values of a batch's records from its unpacked bytes: an exact parser, and a fast one for the usual.

A record: its length, attributes (1 byte), timestamp delta, offset delta, key, value, headers; all numbers but
the attributes are zig-zag varints. The exact parser is the only authority. The fast one gives what the
exact one gives, or nothing. (aiokafka's compiled one takes 0.1 us a record, but was not made for hostile
bytes: a length of 2^63 - 500 passes its check of bounds and asks for as much memory.)
"""

import numpy as np

RECORD_BYTES_MIN = 7
NUMBER_BYTES_MAX, TIME_BYTES_MAX = 5, 10  # of a varint of 32 and of 64 bits
FAST_RECORDS_MIN = (
    40  # measured, us a record of 300 bytes: exact 1.1; fast 1.6 at 20, 0.8 at 50, 0.3 at 1,000
)


class RecordError(Exception):
    """These bytes are not `count` records with offsets 0 to count - 1. The text quotes nothing of them."""


def values(data: bytes, count: int) -> list[bytes]:
    """The values of exactly `count` records, b"" for a null value. Raises RecordError."""
    if count >= FAST_RECORDS_MIN and (found := values_fast(data, count)) is not None:
        return found
    return values_exact(data, count)


def values_exact(data: bytes, count: int) -> list[bytes]:
    """As `values`. As Java's, its varints may be longer than need be, up to five bytes (ten for times)."""
    if count * RECORD_BYTES_MIN > len(data):  # a count that lies costs nothing
        raise RecordError("fewer bytes than its records need")
    at, found = 0, []
    try:
        for i in range(count):
            size, at = _varint(data, at)
            end = at + size
            if size < 0 or end > len(data):
                raise RecordError("a record beyond the end")
            at = _behind_time(data, at + 1)
            delta, at = _varint(data, at)
            if delta != i:
                raise RecordError("offsets of records out of order")
            size, at = _varint(data, at)
            at += max(size, 0)  # the key
            size, at = _varint(data, at)
            value_end = at + max(size, 0)
            if value_end > end:
                raise RecordError("a field beyond its record")
            found.append(data[at:value_end])
            at = _behind_headers(data, value_end)
            if at != end:
                raise RecordError("a record that its fields do not fill")
    except IndexError:
        raise RecordError("a record beyond the end") from None
    if at != len(data):
        raise RecordError("bytes behind the last record")
    return found


def first_key(data: bytes) -> bytes:
    """The key of the first record, b"" for a null key. Raises RecordError."""
    try:
        _, at = _varint(data, 0)
        _, at = _varint(data, _behind_time(data, at + 1))
        size, at = _varint(data, at)
    except IndexError:
        raise RecordError("a record beyond the end") from None
    return data[at : at + max(size, 0)]


def _behind_headers(data: bytes, at: int) -> int:
    headers, at = _varint(data, at)
    if headers < 0 or headers > len(data) - at:
        raise RecordError("a number of headers that cannot be")
    for _ in range(headers):
        size, at = _varint(data, at)
        if size < 0:
            raise RecordError("a header without a key")
        size, at = _varint(data, at + size)
        at += max(size, 0)
    return at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A signed number of 32 bits and the place behind it. IndexError at the end of `data`."""
    byte = data[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    number, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = data[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            number &= 0xFFFF_FFFF
            return (number >> 1) ^ -(number & 1), at + 1
        shift += 7
        if shift == 7 * NUMBER_BYTES_MAX:
            raise RecordError("a number of too many bytes")


def _behind_time(data: bytes, at: int) -> int:
    """The time is the batch's; a record's own is stepped over."""
    end = at + TIME_BYTES_MAX
    while data[at] >= 0x80:
        at += 1
        if at == end:
            raise RecordError("a number of too many bytes")
    return at + 1


# --- the fast one -----------------------------------------------------------------------------------------

_PADDING = bytes(
    32
)  # a record may begin at the last byte, and its time, its offset and its key's length follow


class _UnusualError(Exception):
    """Not of the shape that the columns are made for; what it is, the exact parser finds out."""


def values_fast(data: bytes, count: int) -> list[bytes] | None:
    """As `values_exact` for records without headers and with numbers of up to three bytes; else None."""
    try:
        at, ends = _bounds(data, count)
        column = np.frombuffer(data + _PADDING, np.uint8)
        delta, at = _numbers(column, _behind_times(column, at + 1))
        key_bytes, at = _numbers(column, at)
        at = at + np.maximum(key_bytes, 0)
        _expect((delta == np.arange(count)).all() and (at < ends).all())
        value_bytes, at = _numbers(column, at)
        value_ends = at + np.maximum(value_bytes, 0)
        _expect((value_ends + 1 == ends).all() and not column[value_ends].any())  # the last byte: no headers
    except _UnusualError:
        return None
    return [data[i:j] for i, j in zip(at.tolist(), value_ends.tolist(), strict=True)]


def _expect(usual: np.bool_ | bool) -> None:
    if not usual:
        raise _UnusualError


def _bounds(data: bytes, count: int) -> np.ndarray:
    """Where each record begins, behind its length, and where it ends; together they fill `data`."""
    starts, ends, end = [], [], 0
    try:
        for _ in range(count):
            size, at = data[end], end + 1
            if size >= 0x80:
                size, at = size & 0x7F | data[at] << 7, at + 1
                if size >= 1 << 14:
                    size, at = size & 0x3FFF | data[at] << 14, at + 1
                    _expect(size < 1 << 21)
            _expect(not size & 1)
            end = at + (size >> 1)
            starts.append(at)
            ends.append(end)
    except IndexError:
        raise _UnusualError from None
    _expect(end == len(data))
    return np.array((starts, ends))


def _behind_times(column: np.ndarray, at: np.ndarray) -> np.ndarray:
    for _ in range(TIME_BYTES_MAX):
        goes_on = column[at] >= 0x80
        if not goes_on.any():
            return at + 1
        at = at + goes_on
    raise _UnusualError


def _numbers(column: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A varint of up to three bytes at each place, and the places behind them."""
    byte = column[at].astype(np.int64)
    number, at, shift = byte & 0x7F, at + 1, 7
    goes_on = byte >= 0x80
    while goes_on.any():
        _expect(shift < 21)
        byte = column[at] * goes_on.astype(np.int64)
        number, at, shift = number | (byte & 0x7F) << shift, at + goes_on, shift + 7
        goes_on = byte >= 0x80
    return (number >> 1) ^ -(number & 1), at
