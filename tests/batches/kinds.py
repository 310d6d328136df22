"""Batches as an app may send them: one of each kind that has ended some reader, made around three values."""

import gzip
import struct

from schemas.limits import BATCH_RECORDS_MAX, BATCH_UNPACKED_BYTES_MAX
from tests.batches import making
from tests.batches.making import (
    GZIP,
    LZ4,
    SNAPPY,
    ZSTD,
    Made,
    gzip_member,
    lz4_made,
    record,
    records,
    skippable,
    varint,
    zstd_frame,
)

VALUES = [b'{"version": 1, "kind": "report"}', b"", b"x" * 100]
PLAIN = records(VALUES)
HALF = len(PLAIN) // 2
ZSTD_READ_BYTES = 131_075  # what Java's stream takes from its source at once
BEHIND = b"bytes behind the frame"
MEMBER, FRAME = gzip.compress(PLAIN), zstd_frame(PLAIN)
SNAPPY_SMALL = making.snappy_block(PLAIN)


def body(content: bytes) -> bytes:
    """A record with the right length around any content."""
    return varint(len(content)) + content


def half_a_frame_at(place: int) -> bytes:
    """The records in a frame of zstd that ends there, behind bytes to be skipped; then half a frame."""
    return skippable(place - len(FRAME) - 8) + FRAME + FRAME[:20]


def headers(*pairs: making.Header) -> bytes:
    return records(VALUES, pairs)


HAND_MADE: dict[str, Made] = {
    # --- records ---
    "plain": Made(PLAIN),
    "one null value": Made(record(0, None), 1),
    "null key and value": Made(record(0, None, key=None), 1),
    "empty key and value": Made(record(0, b"", key=b""), 1),
    "many records": Made(records([b"v"] * 500), 500),
    "header with a null value": Made(headers((b"trace", None))),
    "header with an empty key": Made(headers((b"", b"x"))),
    "header key in GBK": Made(headers(("来源".encode("gbk"), b"x"))),
    "many headers": Made(headers(*[(b"h%d" % i, b"x") for i in range(500)])),
    "record attributes of 8 bits": Made(record(0, b"v", attributes=0xFF), 1),
    "time delta of 64 bits": Made(
        record(0, b"v", time_delta=2**62) + record(1, b"v", time_delta=-(2**63)), 2
    ),
    "numbers of five bytes": Made(
        body(b"\0" + varint(0, 10) + varint(0, 5) + varint(1, 5) + b"k" + varint(1, 5) + b"v" + varint(0, 5)),
        1,
    ),
    "a number of six bytes": Made(body(b"\0\0" + varint(0, 6) + b"\x01\x02v\0"), 1),
    "a number beyond 32 bits": Made(body(b"\0\0\x80\x80\x80\x80\x70\x01\x02v\0"), 1),
    "a value length below -1": Made(body(b"\0\0\0\x01" + varint(-7) + b"\0"), 1),
    "a key length of 2^31 - 1": Made(body(b"\0\0\0" + varint(2**31 - 1) + b"k\x02v\0"), 1),
    "offsets with gaps": Made(b"".join(record(3 * i, b"v") for i in range(3)), 3, offsets=7),
    "offsets that fall": Made(record(5, b"v") + record(3, b"v"), 2),
    "offsets that repeat": Made(record(0, b"v") + record(0, b"v"), 2),
    "offsets from 1": Made(record(1, b"v") + record(2, b"v"), 2),
    "offsets below 0": Made(record(-1, b"v") + record(0, b"v"), 2),
    "offsets beyond": Made(record(2**31 - 1, b"v"), 1),
    "fewer records than counted": Made(PLAIN, 4),
    "more records than counted": Made(PLAIN, 2),
    "count below the offsets": Made(PLAIN, 2, offsets=3),
    "no records": Made(b"", 0, offsets=1),
    "bytes behind the last record": Made(PLAIN + b"\0"),
    "a record cut off": Made(PLAIN[:-3]),
    "rubbish": Made(b"rubbish, not a record at all"),
    "more records than a batch may have": Made(
        zstd_frame(records([b""] * (BATCH_RECORDS_MAX + 1))), BATCH_RECORDS_MAX + 1, ZSTD
    ),
    "as many records as a batch may have": Made(
        zstd_frame(records([b""] * BATCH_RECORDS_MAX)), BATCH_RECORDS_MAX, ZSTD
    ),
    # --- header ---
    "unused attributes": Made(PLAIN, attributes=0x4000),
    "delete horizon": Made(PLAIN, attributes=0x40),
    "log append time": Made(PLAIN, attributes=making.LOG_APPEND_TIME),
    "control": Made(PLAIN, attributes=making.CONTROL),
    "transactional": Made(PLAIN, attributes=making.TRANSACTIONAL),
    "codec 5": Made(PLAIN, codec=5),
    "codec 7": Made(PLAIN, codec=7),
    # --- gzip ---
    "gzip": Made(MEMBER, codec=GZIP),
    "gzip: two members": Made(gzip.compress(PLAIN[:HALF]) + gzip.compress(PLAIN[HALF:]), codec=GZIP),
    "gzip: an empty member behind": Made(MEMBER + gzip.compress(b""), codec=GZIP),
    "gzip: a member too many": Made(MEMBER + MEMBER, codec=GZIP),
    "gzip: a header behind": Made(MEMBER + MEMBER[:10], codec=GZIP),
    "gzip: a member cut off behind": Made(MEMBER + MEMBER[:30], codec=GZIP),
    "gzip: bytes behind": Made(MEMBER + BEHIND, codec=GZIP),
    "gzip: many bytes behind": Made(MEMBER + BEHIND * 900, codec=GZIP),
    "gzip: zeros behind": Made(MEMBER + bytes(30), codec=GZIP),
    "gzip: wrong CRC": Made(MEMBER[:-8] + b"0000" + MEMBER[-4:], codec=GZIP),
    "gzip: wrong size": Made(MEMBER[:-4] + b"0000", codec=GZIP),
    "gzip: cut off": Made(MEMBER[:-9], codec=GZIP),
    "gzip: no trailer": Made(MEMBER[:-8], codec=GZIP),
    "gzip: name and comment": Made(gzip_member(PLAIN, 8 | 16, b"name\0comment\0"), codec=GZIP),
    "gzip: extra field": Made(gzip_member(PLAIN, 4, b"\x05\0extra"), codec=GZIP),
    "gzip: header CRC": Made(gzip_member(PLAIN, 2, header_crc=True), codec=GZIP),
    "gzip: wrong header CRC": Made(gzip_member(PLAIN, 2, b"\0\0"), codec=GZIP),
    "gzip: reserved flags": Made(gzip_member(PLAIN, 0xE0), codec=GZIP),
    "gzip: an extra field beyond": Made(gzip_member(PLAIN, 4, b"\xff\xff"), codec=GZIP),
    "gzip: beyond the limit": making.large(GZIP, BATCH_UNPACKED_BYTES_MAX),
    # --- snappy ---
    "snappy: bare": Made(SNAPPY_SMALL, codec=SNAPPY),
    "snappy: xerial": Made(making.xerial(PLAIN), codec=SNAPPY),
    "snappy: xerial in blocks": Made(making.xerial(PLAIN[:9], PLAIN[9:HALF], PLAIN[HALF:]), codec=SNAPPY),
    "snappy: xerial, version little-endian": Made(making.xerial(PLAIN, version=1 << 24), codec=SNAPPY),
    "snappy: xerial, version 0": Made(making.xerial(PLAIN, version=0), codec=SNAPPY),
    "snappy: xerial, version -1": Made(making.xerial(PLAIN, version=-1), codec=SNAPPY),
    "snappy: a second xerial stream of version 0": Made(
        making.xerial(PLAIN[:HALF]) + making.xerial(PLAIN[HALF:], version=0), codec=SNAPPY
    ),
    "snappy: two xerial streams": Made(
        making.xerial(PLAIN[:HALF]) + making.xerial(PLAIN[HALF:]), codec=SNAPPY
    ),
    "snappy: xerial, a block of no bytes": Made(making.xerial(PLAIN) + bytes(4), codec=SNAPPY),
    "snappy: xerial, an empty block": Made(making.xerial(PLAIN[:HALF], b"", PLAIN[HALF:]), codec=SNAPPY),
    "snappy: xerial, three bytes behind": Made(making.xerial(PLAIN) + b"abc", codec=SNAPPY),
    "snappy: xerial, bytes behind": Made(making.xerial(PLAIN) + BEHIND, codec=SNAPPY),
    "snappy: xerial, a negative block": Made(making.xerial(PLAIN) + b"\xff\xff\xff\xff", codec=SNAPPY),
    "snappy: xerial, cut off": Made(making.xerial(PLAIN)[:-1], codec=SNAPPY),
    "snappy: xerial, header only": Made(making.xerial(), codec=SNAPPY),
    "snappy: xerial, half a header behind": Made(making.xerial(PLAIN) + making.xerial()[:9], codec=SNAPPY),
    "snappy: bare, bytes behind": Made(SNAPPY_SMALL + BEHIND, codec=SNAPPY),
    "snappy: a length that lies": Made(b"\xff\xff\xff\xff\x07" + SNAPPY_SMALL[2:], codec=SNAPPY),
    "snappy: empty": Made(b"", codec=SNAPPY),
    "snappy: beyond the limit": making.large(SNAPPY, BATCH_UNPACKED_BYTES_MAX),
    # --- lz4 ---
    "lz4": Made(making.lz4_frame(PLAIN), codec=LZ4),
    "lz4: linked blocks": Made(lz4_made(PLAIN, flags=0x40), codec=LZ4),
    "lz4: content size": Made(making.lz4_frame(PLAIN, store_size=True), codec=LZ4),
    "lz4: content checksum": Made(making.lz4_frame(PLAIN, content_checksum=True), codec=LZ4),
    "lz4: wrong content checksum": Made(lz4_made(PLAIN, flags=0x64, tail=b"oops"), codec=LZ4),
    "lz4: content checksum cut off": Made(lz4_made(PLAIN, flags=0x64, tail=b"oo"), codec=LZ4),
    "lz4: wrong content size": Made(lz4_made(PLAIN, flags=0x68), codec=LZ4),
    "lz4: block checksums": Made(making.lz4_frame(PLAIN, block_checksum=True), codec=LZ4),
    "lz4: two blocks with checksums": Made(lz4_made(PLAIN[:HALF], PLAIN[HALF:], flags=0x70), codec=LZ4),
    "lz4: wrong block checksum": Made(
        lz4_made(PLAIN, flags=0x70, mark=b"")[:-1] + b"?" + bytes(4), codec=LZ4
    ),
    "lz4: bytes behind": Made(making.lz4_frame(PLAIN) + BEHIND, codec=LZ4),
    "lz4: two frames": Made(making.lz4_frame(PLAIN[:HALF]) + making.lz4_frame(PLAIN[HALF:]), codec=LZ4),
    "lz4: no end mark": Made(lz4_made(PLAIN, mark=b""), codec=LZ4),
    "lz4: end mark of an uncompressed block": Made(lz4_made(PLAIN, mark=b"\0\0\0\x80"), codec=LZ4),
    "lz4: an empty block behind": Made(lz4_made(PLAIN, b""), codec=LZ4),
    "lz4: an empty block and another behind": Made(lz4_made(PLAIN, b"", PLAIN), codec=LZ4),
    "lz4: an empty block between": Made(lz4_made(PLAIN[:HALF], b"", PLAIN[HALF:]), codec=LZ4),
    "lz4: an uncompressed block": Made(
        lz4_made(mark=struct.pack("<I", len(PLAIN) | 1 << 31) + PLAIN + bytes(4)), codec=LZ4
    ),
    "lz4: dictionary": Made(lz4_made(PLAIN, flags=0x61), codec=LZ4),
    "lz4: version 2": Made(lz4_made(PLAIN, flags=0xA0), codec=LZ4),
    "lz4: block size 3": Made(lz4_made(PLAIN, size=0x30), codec=LZ4),
    "lz4: reserved size bits": Made(lz4_made(PLAIN, size=0x41), codec=LZ4),
    "lz4: wrong header checksum": Made(
        lz4_made(PLAIN)[:6] + bytes([lz4_made(PLAIN)[6] ^ 1]) + lz4_made(PLAIN)[7:], codec=LZ4
    ),
    "lz4: a block beyond its size": Made(lz4_made(records([bytes(100_000)])), 1, LZ4),
    "lz4: beyond the limit": making.large(LZ4, BATCH_UNPACKED_BYTES_MAX),
    # --- zstd ---
    "zstd": Made(FRAME, codec=ZSTD),
    "zstd: without content size": Made(making.zstd_stream(PLAIN), codec=ZSTD),
    "zstd: two frames": Made(zstd_frame(PLAIN[:HALF]) + zstd_frame(PLAIN[HALF:]), codec=ZSTD),
    "zstd: an empty frame behind": Made(FRAME + zstd_frame(b""), codec=ZSTD),
    "zstd: a skippable frame before": Made(skippable(4) + FRAME, codec=ZSTD),
    "zstd: a skippable frame behind": Made(FRAME + skippable(4), codec=ZSTD),
    "zstd: bytes behind": Made(FRAME + BEHIND, codec=ZSTD),
    "zstd: two bytes behind": Made(FRAME + b"ab", codec=ZSTD),
    "zstd: half a magic behind": Made(FRAME + FRAME[:2], codec=ZSTD),
    "zstd: half a header behind": Made(FRAME + FRAME[:5], codec=ZSTD),
    "zstd: half a frame behind": Made(FRAME + FRAME[:20], codec=ZSTD),
    "zstd: second half cut off": Made(zstd_frame(PLAIN[:HALF]) + zstd_frame(PLAIN[HALF:])[:-2], codec=ZSTD),
    "zstd: cut off within a read": Made(half_a_frame_at(ZSTD_READ_BYTES + 1), codec=ZSTD),
    "zstd: cut off before a read": Made(half_a_frame_at(ZSTD_READ_BYTES - 5), codec=ZSTD),
    "zstd: cut off": Made(FRAME[:-1], codec=ZSTD),
    "zstd: window of 2^27": Made(making.zstd_stream(PLAIN, 27), codec=ZSTD),
    "zstd: window of 2^28": Made(making.zstd_stream(PLAIN, 28), codec=ZSTD),
    "zstd: beyond the limit": making.large(ZSTD, BATCH_UNPACKED_BYTES_MAX),
}
