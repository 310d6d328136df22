"""Record batches made by hand, byte by byte, and the faults that an app can build into them."""

import gzip
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cramjam
import lz4.block
import lz4.frame
from aiokafka.record.util import calc_crc32c

from stream.batches.reader import RawFetch
from stream.batches.unpack import CODECS, xxh32, zstd

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


class Made(NamedTuple):
    """What its producer decides about a batch; offsets and time are the broker's."""

    payload: bytes
    count: int = 3
    codec: int = NONE
    offsets: int | None = None
    attributes: int = 0

    def sent(self) -> bytes:
        """As in a request to the broker."""
        return batch(self.payload, self.count, self.codec, offsets=self.offsets, attributes=self.attributes)

    def fetched(self, base: int = 0) -> bytes:
        """As the broker hands it out."""
        attributes = self.attributes | LOG_APPEND_TIME
        return batch(
            self.payload, self.count, self.codec, base=base, offsets=self.offsets, attributes=attributes
        )


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


def gzip_member(payload: bytes, flags: int = 0, extra: bytes = b"", header_crc: bool = False) -> bytes:
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + extra
    if header_crc:
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    packed = deflate.compress(payload) + deflate.flush()
    return head + packed + struct.pack("<II", zlib.crc32(payload), len(payload))


def lz4_made(
    *blocks: bytes, flags: int = 0x60, size: int = 0x40, mark: bytes = bytes(4), tail: bytes = b""
) -> bytes:
    """A frame of blocks that are packed here, whatever its flags say."""
    head = bytes([flags, size]) + (bytes(8) if flags & 8 else b"")
    out = b"\x04\x22\x4d\x18" + head + bytes([xxh32(head) >> 8 & 0xFF])
    for block in blocks:
        packed = lz4.block.compress(block, store_size=False)
        out += struct.pack("<I", len(packed)) + packed
        if flags & 16:
            out += struct.pack("<I", xxh32(packed))
    return out + mark + tail


def lz4_frame(payload: bytes, **options: object) -> bytes:
    return lz4.frame.compress(payload, **{"block_linked": False, "store_size": False, **options})


def skippable(size: int) -> bytes:
    """A frame of zstd without content."""
    return b"\x50\x2a\x4d\x18" + struct.pack("<I", size) + bytes(size)


def zstd_frame(payload: bytes) -> bytes:
    return zstd.compress(payload)


def zstd_stream(payload: bytes, window_log: int | None = None) -> bytes:
    """As producers write it: the frame does not tell its size."""
    options = {zstd.CompressionParameter.content_size_flag: 0}
    if window_log:
        options[zstd.CompressionParameter.window_log] = window_log
    packer = zstd.ZstdCompressor(options=options)
    return packer.compress(payload) + packer.flush()


PACK = (bytes, gzip.compress, xerial, lz4_frame, zstd_stream)
assert len(PACK) == len(CODECS)


def large(codec: int, value_bytes: int) -> Made:
    """One record with a value of zeros, packed without ever being whole in memory."""
    head, chunk = record(0, None), bytes(1 << 16)
    body_bytes = len(head) - 2 + len(varint(value_bytes)) + value_bytes
    start = varint(body_bytes) + head[1:-2] + varint(value_bytes)
    chunks = [start, *[chunk] * (value_bytes // len(chunk)), bytes(value_bytes % len(chunk)) + head[-1:]]
    return Made(_PACK_CHUNKS[codec](chunks), 1, codec)


def _gzip_chunks(chunks: list[bytes]) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return b"".join(map(packer.compress, chunks)) + packer.flush()


def _lz4_chunks(chunks: list[bytes]) -> bytes:
    packer = lz4.frame.LZ4FrameCompressor(block_linked=False)
    return packer.begin() + b"".join(map(packer.compress, chunks)) + packer.flush()


def _zstd_chunks(chunks: list[bytes]) -> bytes:
    packer = zstd.ZstdCompressor()
    return b"".join(map(packer.compress, chunks)) + packer.flush()


_PACK_CHUNKS = (b"".join, _gzip_chunks, lambda chunks: xerial(*chunks), _lz4_chunks, _zstd_chunks)
