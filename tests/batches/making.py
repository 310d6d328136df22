"""Record batches made by hand, byte by byte, and the faults that an app can build into them."""

import gzip
import struct
from collections.abc import Iterable, Sequence

import cramjam
import lz4.frame
from aiokafka.record.util import calc_crc32c

from stream.batches.raw_fetch import RawFetch
from stream.batches.unpack import CODECS, zstd

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
LOG_APPEND_TIME, TRANSACTIONAL, CONTROL = 8, 16, 32
BROKER_MS = 1_790_000_000_000
Header = tuple[bytes | None, bytes | None]


def varint(number: int, bytes_min: int = 1) -> bytes:
    """Zig-zag; longer than need be if `bytes_min` says so."""
    number = (number << 1 ^ number >> 63) & (1 << 64) - 1
    out = bytearray()
    while number > 0x7F or len(out) < bytes_min - 1:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(content: bytes | None) -> bytes:
    return varint(-1) if content is None else varint(len(content)) + content


def record(
    delta: int,
    value: bytes | None,
    key: bytes | None = b"uid",
    headers: Sequence[Header] = (),
    time_delta: int = 0,
    attributes: int = 0,
) -> bytes:
    body = bytes([attributes]) + varint(time_delta) + varint(delta) + field(key) + field(value)
    body += varint(len(headers)) + b"".join(field(part) for header in headers for part in header)
    return varint(len(body)) + body


def records(values: Iterable[bytes | None], headers: Sequence[Header] = ()) -> bytes:
    return b"".join(record(i, value, headers=headers) for i, value in enumerate(values))


def batch(
    payload: bytes,
    count: int,
    codec: int = NONE,
    *,
    base: int = 0,
    offsets: int | None = None,
    attributes: int = LOG_APPEND_TIME,
    producer: tuple[int, int, int] = (-1, -1, -1),
    broker_ms: int = BROKER_MS,
    magic: int = 2,
) -> bytes:
    """A batch with the right length and CRC around `payload`, which is packed already."""
    last_offset_delta = (count if offsets is None else offsets) - 1
    checked = struct.pack(
        ">hiqqqhii", codec | attributes, last_offset_delta, broker_ms, broker_ms, *producer, count
    )
    checked += payload
    head = struct.pack(">qiibI", base, 9 + len(checked), 0, magic, calc_crc32c(checked))
    return head + checked


def of(values: Sequence[bytes | None], codec: int = NONE, **header: object) -> bytes:
    """A good batch with these values."""
    return batch(PACK[codec](records(values)), len(values), codec, **header)


def marker(base: int, producer_id: int, *, commit: bool) -> bytes:
    """The control batch at the end of a transaction."""
    kind = record(0, b"\0\0\0\0\0\0", key=struct.pack(">hh", 0, commit))
    attributes = LOG_APPEND_TIME | TRANSACTIONAL | CONTROL
    return batch(kind, 1, base=base, attributes=attributes, producer=(producer_id, 0, -1))


def fetch(*batches: bytes, first: int = 0, aborted: Sequence[tuple[int, int]] = ()) -> RawFetch:
    data = b"".join(batches)
    return RawFetch(data, first, 1 << 40, 1 << 40, 1 << 40, list(aborted))


def with_crc(data: bytes) -> bytes:
    """The batch with the CRC of the bytes that it has now."""
    return data[:17] + struct.pack(">I", calc_crc32c(data[21:])) + data[21:]


# --- codecs -------------------------------------------------------------------------------------------------


def snappy_block(payload: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(payload))


def xerial(*payloads: bytes, version: int = 1) -> bytes:
    """Each payload as one block behind one header."""
    blocks = [snappy_block(payload) for payload in payloads]
    head = b"\x82SNAPPY\0" + struct.pack(">ii", version, 1)
    return head + b"".join(struct.pack(">i", len(block)) + block for block in blocks)


def lz4_frame(payload: bytes, **options: object) -> bytes:
    return lz4.frame.compress(payload, **{"block_linked": False, "store_size": False, **options})


def zstd_stream(payload: bytes, window_log: int | None = None) -> bytes:
    """As producers write it: the frame does not tell its size."""
    options = {zstd.CompressionParameter.content_size_flag: 0}
    if window_log:
        options[zstd.CompressionParameter.window_log] = window_log
    packer = zstd.ZstdCompressor(options=options)
    return packer.compress(payload) + packer.flush()


PACK = (bytes, gzip.compress, xerial, lz4_frame, zstd_stream)
assert len(PACK) == len(CODECS)
