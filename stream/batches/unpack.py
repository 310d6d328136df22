"""Decompression with a bound: the records of a batch, or the reason why there are none.

What can be read is what Java's client reads (kafka-clients 4.1 on Java 25); its quirks stand beside each
codec. At most `limit` bytes come out, whatever goes in, and what that costs grows with the bytes in and
out, no faster.
"""

import struct
import sys
import zlib
from typing import NoReturn

import cramjam
import lz4.block

from schemas.limits import BATCH_FRAMES_MAX

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")  # by the number in a batch's attributes
DAMAGED, CUT_OFF = "damaged", "ends too early"
TOO_LARGE = "unpacks to more bytes than a batch may have"
TOO_MANY = "more frames than a batch may have"

Buffer = bytes | memoryview


class UnpackError(Exception):
    """These bytes mean nothing in their codec, or too much comes out. The text quotes nothing of them."""


def unpack(codec: int, data: Buffer, limit: int) -> Buffer:
    """What `data` holds, at most `limit` bytes of it. Raises UnpackError for what cannot be read."""
    out = _Output(limit)
    _UNPACK[codec](memoryview(data), out)
    return out.joined()


def _fail(reason: str) -> NoReturn:
    raise UnpackError(reason)


class _Output:
    """What was unpacked so far, and how many bytes more may come."""

    def __init__(self, limit: int) -> None:
        self.left = limit
        self._pieces: list[Buffer] = []

    def add(self, piece: Buffer) -> None:
        self.left -= len(piece)
        if self.left < 0:
            _fail(TOO_LARGE)
        self._pieces.append(piece)

    def joined(self) -> Buffer:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


def _none(data: memoryview, out: _Output) -> None:
    out.add(data)


# --- gzip: members, one behind the other; what follows a member and is no header of another is ignored ----

_FED_BYTES = 8192  # at a time: a decompressor at its end copies what it was fed too much


def _gzip(data: memoryview, out: _Output) -> None:
    at = _gzip_header(data, 0)
    if at is None:
        _fail(DAMAGED)
    for _ in range(BATCH_FRAMES_MAX):
        at = _gzip_header(data, _gzip_member(data, at, out))
        if at is None:
            return
    _fail(TOO_MANY)


def _gzip_header(data: memoryview, start: int) -> int | None:
    """Where the header that begins here ends; None if it is none. (zlib's own look at it is stricter.)"""
    if len(data) - start < 10 or bytes(data[start : start + 3]) != b"\x1f\x8b\x08":
        return None
    flags = data[start + 3]
    at = start + 10
    if flags & 4:  # an extra field
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    for flag in (8, 16):  # a name, a comment
        if flags & flag:
            at = _behind_zero(data, at)
    if flags & 2:  # a checksum of the header
        if zlib.crc32(data[start:at]) & 0xFFFF != int.from_bytes(data[at : at + 2], "little"):
            return None
        at += 2
    return at if at <= len(data) else None


def _behind_zero(data: memoryview, at: int) -> int:
    """Behind the next byte that is 0; behind the end if there is none."""
    end = len(data)
    while at < end and data[at]:
        at += 1
    return at + 1


def _gzip_member(data: memoryview, at: int, out: _Output) -> int:
    """Where the member ends whose header ends here."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    crc = size = 0
    while not inflate.eof:
        fed = data[at : at + _FED_BYTES]
        if not fed:
            _fail(CUT_OFF)
        try:
            piece = inflate.decompress(fed, out.left + 1)
        except zlib.error:
            _fail(DAMAGED)
        out.add(piece)
        crc, size = zlib.crc32(piece, crc), size + len(piece)
        at += len(fed) - len(inflate.unused_data)
    if len(data) - at < 8:
        _fail(CUT_OFF)
    if data[at : at + 8] != struct.pack("<II", crc, size):
        _fail(DAMAGED)
    return at + 8


# --- snappy: one bare block; or xerial's frame, a header and blocks behind their lengths ------------------

_XERIAL, _XERIAL_HEADER_BYTES = b"\x82SNAPPY\0", 16


def _snappy(data: memoryview, out: _Output) -> None:
    if len(data) < _XERIAL_HEADER_BYTES or data[:8] != _XERIAL:
        _snappy_block(data, out)
        return
    at, end = _XERIAL_HEADER_BYTES, len(data)
    while end - at >= 4:  # up to three bytes at the end are ignored
        if data[at : at + 4] == _XERIAL[:4]:  # another stream's header; only of such a one the version counts
            header = data[at : at + _XERIAL_HEADER_BYTES]
            if len(header) < _XERIAL_HEADER_BYTES:
                _fail(CUT_OFF)
            if header[:8] == _XERIAL and int.from_bytes(header[8:12], "big", signed=True) < 1:
                _fail(DAMAGED)
            at += _XERIAL_HEADER_BYTES
            continue
        size = int.from_bytes(data[at : at + 4], "big")
        at += 4
        if size > end - at:
            _fail(CUT_OFF)
        _snappy_block(data[at : at + size], out)
        at += size


def _snappy_block(block: memoryview, out: _Output) -> None:
    if not block:
        _fail(DAMAGED)
    packed = bytes(block)
    try:
        if cramjam.snappy.decompress_raw_len(packed) > out.left:
            _fail(TOO_LARGE)
        out.add(bytes(cramjam.snappy.decompress_raw(packed)))
    except cramjam.DecompressionError:
        _fail(DAMAGED)


# --- lz4: one frame of independent blocks; its content's size and checksum and what follows are not looked
# at ---

_LZ4_MAGIC = b"\x04\x22\x4d\x18"
_LZ4_BLOCK_BYTES_MAX = {0x40: 1 << 16, 0x50: 1 << 18, 0x60: 1 << 20, 0x70: 1 << 22}
_LZ4_EXPANSION_MAX = 255
_LZ4_CONTENT_CHECKSUM, _LZ4_CONTENT_SIZE, _LZ4_BLOCK_CHECKSUM = 4, 8, 16


def _lz4(data: memoryview, out: _Output) -> None:
    if len(data) < 7 or data[:4] != _LZ4_MAGIC:
        _fail(DAMAGED)
    flags, block_bytes_max = data[4], _LZ4_BLOCK_BYTES_MAX.get(data[5])
    if flags & 0b1110_0011 != 0b0110_0000 or block_bytes_max is None:  # version 1, independent, no dictionary
        _fail(DAMAGED)
    at = 14 if flags & _LZ4_CONTENT_SIZE else 6
    if data[at : at + 1] != bytes([xxh32(data[4:at]) >> 8 & 0xFF]):
        _fail(DAMAGED)
    at += 1
    while True:
        word = data[at : at + 4]
        if len(word) < 4:
            _fail(CUT_OFF)
        size = int.from_bytes(word, "little")
        packed, size = size < 1 << 31, size & 0x7FFF_FFFF
        at += 4
        if size > block_bytes_max:
            _fail(DAMAGED)
        if size == 0:  # the end
            if flags & _LZ4_CONTENT_CHECKSUM and len(data) - at < 4:
                _fail(CUT_OFF)
            return
        block = data[at : at + size]
        at += size
        if len(block) < size:
            _fail(CUT_OFF)
        if flags & _LZ4_BLOCK_CHECKSUM:
            if data[at : at + 4] != struct.pack("<I", xxh32(block)):
                _fail(DAMAGED)
            at += 4
        piece = _lz4_block(block, block_bytes_max) if packed else block
        if not piece:  # Java takes a block that unpacks to no bytes for the end
            return
        out.add(piece)


def _lz4_block(block: memoryview, block_bytes_max: int) -> bytes:
    room = min(block_bytes_max, _LZ4_EXPANSION_MAX * len(block))
    try:
        unpacked: bytes = lz4.block.decompress(block, uncompressed_size=room)
    except lz4.block.LZ4BlockError:
        _fail(DAMAGED)
    return unpacked


_PRIMES = (2654435761, 2246822519, 3266489917, 668265263, 374761393)


def xxh32(data: Buffer) -> int:
    """XXH32 with seed 0: of a header of a few bytes; of blocks only if their producer sends checksums."""
    p1, p2, p3, p4, p5 = _PRIMES
    mask, size = 0xFFFF_FFFF, len(data)
    words = struct.unpack_from(f"<{size // 4}I", data)
    whole = size // 16 * 4
    if whole:
        lanes = [p1 + p2 & mask, p2, 0, -p1 & mask]
        for i in range(4):
            lane = lanes[i]
            for word in words[i:whole:4]:
                lane = lane + word * p2 & mask
                lane = (lane << 13 | lane >> 19) * p1 & mask
            lanes[i] = lane
        h = sum(lane << turn | lane >> 32 - turn for lane, turn in zip(lanes, (1, 7, 12, 18), strict=True))
    else:
        h = p5
    h += size
    for word in words[whole:]:
        h = h + word * p3 & mask
        h = (h << 17 | h >> 15) * p4 & mask
    for byte in data[size // 4 * 4 :]:
        h = h + byte * p5 & mask
        h = (h << 11 | h >> 21) * p1 & mask
    h &= mask
    h = (h ^ h >> 15) * p2 & mask
    h = (h ^ h >> 13) * p3 & mask
    return h ^ h >> 16


# --- zstd: frames, one behind the other -------------------------------------------------------------------

_ZSTD_READ_BYTES = 131_075  # what Java's stream takes from its source at once


def _zstd(data: memoryview, out: _Output) -> None:
    at, end = 0, len(data)
    frame, frames, frames_end = zstd.ZstdDecompressor(), 0, 0
    while at < end:
        fed = data[at : at + _FED_BYTES]
        try:
            piece = frame.decompress(fed, out.left + 1)
        except zstd.ZstdError:
            _fail(DAMAGED)
        out.add(piece)
        at += len(fed)
        if frame.eof:
            at -= len(frame.unused_data)
            frame, frames, frames_end = zstd.ZstdDecompressor(), frames + 1, at
            if frames == BATCH_FRAMES_MAX and at < end:
                _fail(TOO_MANY)
    # A frame that is cut off ends the stream in good order if one before it ended in the last bytes that
    # were read.
    if frames_end < end and frames_end <= (end - 1) // _ZSTD_READ_BYTES * _ZSTD_READ_BYTES:
        _fail(CUT_OFF)


_UNPACK = (_none, _gzip, _snappy, _lz4, _zstd)
