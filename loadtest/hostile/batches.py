"""Record batches (version 2) made byte by byte, as a producer's request carries them: right or wrong at will.

Only the length and the CRC are always right: the broker looks at them before anything else.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

from aiokafka.record.util import calc_crc32c

from stream.batches.unpack import zstd  # type: ignore[attr-defined]  # Python's, or its backport

PLAIN, GZIP, SNAPPY, LZ4, ZSTD = range(5)
_MAGIC = 2


class Batch(NamedTuple):
    """Bytes for the broker, and how many offsets it gives them."""

    data: bytes
    offsets: int


def batch(payload: bytes, count: int, codec: int = PLAIN, offsets: int | None = None) -> Batch:
    """`payload`, packed already, under a header that counts `count` records over `offsets` offsets."""
    offsets = count if offsets is None else offsets
    no_producer, time_ms = (-1, -1, -1), 0  # the topic takes the broker's time
    body = struct.pack(">hiqqqhii", codec, offsets - 1, time_ms, time_ms, *no_producer, count) + payload
    head = struct.pack(">qiibI", 0, 9 + len(body), -1, _MAGIC, calc_crc32c(body))
    return Batch(head + body, offsets)


def zipped(values: list[bytes | None]) -> Batch:
    """A good batch, by zstd."""
    return batch(zstd.compress(records(values)), len(values), ZSTD)


def records(values: Iterable[bytes | None], first_delta: int = 0) -> bytes:
    """Records one behind the other, with offset deltas from `first_delta` on."""
    return b"".join(record(delta, value) for delta, value in enumerate(values, first_delta))


def record(delta: int, value: bytes | None, key: bytes | None = None, header: bytes | None = None) -> bytes:
    """One record; `header`: the key of its only header."""
    body = b"\0\0" + _varint(delta) + _field(key) + _field(value)
    body += b"\0" if header is None else _varint(1) + _field(header) + _field(b"")
    return _varint(len(body)) + body


def _field(content: bytes | None) -> bytes:
    return _varint(-1) if content is None else _varint(len(content)) + content


def _varint(number: int) -> bytes:
    number = number << 1 ^ number >> 63  # zig-zag
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
