"""Batches of each hostile kind, as many of them as the broker takes, or refuses by itself."""

import gzip
import zlib
from collections.abc import Iterator

from loadtest.hostile.batches import GZIP, LZ4, SNAPPY, ZSTD, Batch, batch, record, records, zipped
from schemas.limits import BATCH_RECORDS_MAX, BATCH_UNPACKED_BYTES_MAX, MIB, RECORD_BYTES_MAX
from stream.batches.unpack import zstd  # type: ignore[attr-defined]  # Python's, or its backport

_VALUES = [b"a value of a batch that nobody can read"] * 3
_RECORDS = records(_VALUES)
# The largest bomb: a reader without a bound would take 64 MiB for 2 KiB. What ends a broker is not sent.
_BOMB_BYTES = 64 * MIB


def unreadable() -> dict[str, Batch]:
    """Batches that the broker takes, and of which no reader should make records."""
    offsets_that_fall = record(5, _VALUES[0]) + record(3, _VALUES[1])
    return {
        "offset deltas that fall": batch(offsets_that_fall, 2),
        "offset deltas from 1": batch(records(_VALUES, first_delta=1), 3),
        "offset deltas far beyond": batch(record(2**31 - 1, _VALUES[0]), 1),
        "one record too many": zipped([b""] * (BATCH_RECORDS_MAX + 1)),
        "zstd just beyond the limit": batch(_bomb(BATCH_UNPACKED_BYTES_MAX), 1, ZSTD),
        "zstd far beyond the limit": batch(_bomb(_BOMB_BYTES), 1, ZSTD),
        "gzip beyond the limit": batch(_gzip_bomb(BATCH_UNPACKED_BYTES_MAX), 1, GZIP),
    }


def refused_by_broker() -> dict[str, Batch]:
    """Batches that end at the broker."""
    return {
        "rubbish under a right checksum": batch(b"rubbish, and no record", 3),
        "rubbish in place of lz4": batch(b"rubbish, and no frame", 3, LZ4),
        "rubbish in place of snappy": batch(b"rubbish, and no block", 3, SNAPPY),
        "more records than counted": batch(_RECORDS, 2),
        "fewer records than offsets": batch(record(0, _VALUES[0]) + record(7, _VALUES[1]), 2, offsets=8),
        "gzip with a wrong checksum": batch(_wrong_checksum(gzip.compress(_RECORDS)), 3, GZIP),
        "a codec that there is not": batch(_RECORDS, 3, codec=6),
    }


def strange() -> dict[str, Batch]:
    """Batches that look wrong, and that Java reads: their records are judged one by one."""
    in_gbk = "来源".encode("gbk")
    return {
        "a header key in GBK": batch(record(0, b"{}", header=in_gbk), 1),
        "no values": zipped([None] * 3),
        "bytes behind gzip": batch(gzip.compress(_RECORDS) + b"and more", 3, GZIP),
        "two frames of zstd": batch(zstd.compress(_RECORDS[:20]) + zstd.compress(_RECORDS[20:]), 3, ZSTD),
    }


def tiny(count: int = BATCH_RECORDS_MAX) -> Batch:
    """As many records as a batch may have, all of them empty: 1.2 records a byte."""
    return zipped([b""] * count)


def large(values: list[bytes]) -> Batch:
    """As much as a batch may unpack to: records of 16 KiB, mostly blanks."""
    count = BATCH_UNPACKED_BYTES_MAX // (RECORD_BYTES_MAX + 32)
    return zipped([values[i % len(values)].ljust(RECORD_BYTES_MAX) for i in range(count)])


def rubbish(values: list[bytes], count: int) -> Batch:
    """Reports with something wrong in each, one thing after the other, and what is no report at all."""
    return zipped([_spoilt(values[i % len(values)], i) for i in range(count)])


def _spoilt(value: bytes, number: int) -> bytes:
    ways = (
        value[: len(value) // 2],
        value.replace(b'"distance_m":', b'"distance_m":0.5,"distance_m":'),
        value.replace(b'"version"', b'"points":1000000,"version"'),
        value.replace(b'"kind":"report"', b'"kind":"transfer"'),
        b"[" * 500,
        b'{"version":1e400}',
        b"\xff\xfe" + value,
        zlib.compress(value),
    )
    return ways[number % len(ways)]


def _wrong_checksum(member: bytes) -> bytes:
    return member[:-8] + bytes(4) + member[-4:]


def _bomb(value_bytes: int) -> bytes:
    packer = zstd.ZstdCompressor()
    return b"".join(packer.compress(chunk) for chunk in _zeros(value_bytes)) + packer.flush()


def _gzip_bomb(value_bytes: int) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(chunk) for chunk in _zeros(value_bytes)) + packer.flush()


def _zeros(value_bytes: int) -> Iterator[bytes]:
    """A record with a value of so many zeros, in pieces."""
    whole = record(0, bytes(value_bytes))
    for at in range(0, len(whole), MIB):
        yield whole[at : at + MIB]
