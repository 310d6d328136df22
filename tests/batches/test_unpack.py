"""One batch of each kind that has ended some reader: read as Java reads it, or refused; within the limits.

Which is which, tests/broker/test_second_reader.py asks Java.
"""

import contextlib
import gzip
import random
import zlib

import cramjam
import lz4.block
import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.limits import BATCH_FRAMES_MAX
from stream.batches.reader import Unreadable, batches_of, values_of
from stream.batches.unpack import CODECS, TOO_LARGE, TOO_MANY, UnpackError, unpack, xxh32
from tests.batches import making
from tests.batches.kinds import HAND_MADE, PLAIN, VALUES
from tests.batches.making import GZIP, LZ4, PACK, SNAPPY, ZSTD

LIMIT = 1 << 20
UNREADABLE = {
    "": """
        a number of six bytes; a key length of 2^31 - 1; offsets with gaps; offsets that fall;
        offsets that repeat; offsets from 1; offsets below 0; offsets beyond; fewer records than
        counted; more records than counted; count below the offsets; no records; bytes behind the
        last record; a record cut off; rubbish; more records than a batch may have; codec 5; codec 7""",
    "gzip": """
        a member too many; a header behind; a member cut off behind; wrong CRC; wrong size; cut off;
        no trailer; wrong header CRC; an extra field beyond; beyond the limit""",
    "snappy": """
        a second xerial stream of version 0; xerial, a block of no bytes; xerial, bytes behind;
        xerial, a negative block; xerial, cut off; xerial, header only; xerial, half a header
        behind; bare, bytes behind; a length that lies; empty; beyond the limit""",
    "lz4": """
        linked blocks; content checksum cut off; wrong block checksum; two frames; no end mark; an
        empty block between; dictionary; version 2; block size 3; reserved size bits; wrong header
        checksum; a block beyond its size; beyond the limit""",
    "zstd": """
        bytes behind; two bytes behind; second half cut off; cut off; cut off before a read; window of 2^28;
        beyond the limit""",
}
REFUSED = {
    f"{codec}: {kind}" if codec else kind
    for codec, kinds in UNREADABLE.items()
    for kind in " ".join(kinds.split()).split("; ")
}
OF_A_CODEC = [name for name in HAND_MADE if name.split(":")[0] in CODECS]


@pytest.mark.parametrize("name", sorted(HAND_MADE.keys() - {"control"}))
def test_each_kind_is_read_or_refused_as_a_whole(name: str) -> None:
    [batch] = batches_of(making.fetch(HAND_MADE[name].fetched()))
    assert isinstance(values_of(batch), Unreadable) == (name in REFUSED)


def test_nothing_is_refused_that_is_not_made() -> None:
    assert HAND_MADE.keys() >= REFUSED


@pytest.mark.parametrize("name", [name for name in OF_A_CODEC if name not in REFUSED])
def test_whatever_the_packing_the_values_are_the_same(name: str) -> None:
    [batch] = batches_of(making.fetch(HAND_MADE[name].fetched()))
    assert values_of(batch) == VALUES


@given(st.binary(max_size=3000), st.sampled_from([GZIP, SNAPPY, LZ4, ZSTD]))
def test_what_was_packed_comes_out_up_to_the_last_byte_that_may(content: bytes, codec: int) -> None:
    packed = PACK[codec](content)
    assert unpack(codec, packed, len(content)) == content
    if content:
        with pytest.raises(UnpackError):
            unpack(codec, packed, len(content) - 1)


@pytest.mark.parametrize(("codec", "frame"), [(GZIP, gzip.compress), (ZSTD, making.zstd_frame)])
def test_frames_are_counted_as_each_needs_a_decompressor(codec: int, frame) -> None:
    most = frame(PLAIN) + frame(b"") * (BATCH_FRAMES_MAX - 1)
    assert unpack(codec, most, LIMIT) == PLAIN
    with pytest.raises(UnpackError, match=TOO_MANY):
        unpack(codec, most + frame(b""), LIMIT)
    if codec == ZSTD:  # whatever follows, one byte of it; gzip looks for another member's header
        with pytest.raises(UnpackError, match=TOO_MANY):
            unpack(codec, most + b"\x28", LIMIT)


# --- each piece of a frame, and what is told of a frame that is cut off in it ----------------------------

CONTENT = b"what the frames hold, and " * 20


def told(codec: int, data: bytes, limit: int = LIMIT) -> bytes | str:
    try:
        return bytes(unpack(codec, data, limit))
    except UnpackError as error:
        return str(error)


def gzip_with(
    extra: bytes = b"", name: bytes = b"", comment: bytes = b"", checked: bool = False
) -> tuple[bytes, int]:
    """A member with the optional parts of a header, and the header's length."""
    flags = (4 if extra else 0) | (8 if name else 0) | (16 if comment else 0) | (2 if checked else 0)
    header = b"\x1f\x8b\x08" + bytes([flags]) + bytes(6)
    header += len(extra).to_bytes(2, "little") + extra if extra else b""
    header += name + b"\0" if name else b""
    header += comment + b"\0" if comment else b""
    header += (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little") if checked else b""
    return header + gzip.compress(CONTENT)[10:], len(header)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"extra": b"e" * 300},
        {"name": b"n"},
        {"comment": b"c" * 5},
        {"checked": True},
        {"extra": b"e", "name": b"nn", "comment": b"c", "checked": True},
    ],
)
def test_a_gzip_member_is_read_whole_and_told_where_it_ends_too_early(parts: dict) -> None:
    member, header_bytes = gzip_with(**parts)
    assert told(GZIP, member) == CONTENT
    assert told(GZIP, member + member) == CONTENT + CONTENT
    for behind in (b"\0", member[:9], member[: header_bytes - 1]):
        assert told(GZIP, member + behind) == CONTENT, "what is no member's header is not looked at"
    for end in range(len(member)):
        assert told(GZIP, member[:end]) == ("damaged" if end < header_bytes else "ends too early"), end
    assert told(GZIP, member + member[:header_bytes]) == "ends too early"


@pytest.mark.parametrize("size", [8191, 8192, 8193, 8192 * 2])
def test_what_is_fed_in_pieces_comes_out_whole(size: int) -> None:
    """The packed bytes end at, before and behind a piece's end."""
    content = random.Random(size).randbytes(size)
    for level in (0, 9):
        packed = gzip.compress(content, level)
        for more in range(-30, 1):
            whole = gzip.compress(content[: size + more], level)
            assert told(GZIP, whole) == content[: size + more]
            assert told(ZSTD, making.zstd_frame(content[: size + more])) == content[: size + more]
        assert told(GZIP, packed + packed) == content * 2
    assert told(ZSTD, making.zstd_frame(content) * 2) == content * 2


def xerial(*blocks: bytes) -> bytes:
    packed = [bytes(cramjam.snappy.compress_raw(block)) for block in blocks]
    return XERIAL + b"".join(len(block).to_bytes(4, "big") + block for block in packed)


XERIAL = b"\x82SNAPPY\0" + (1).to_bytes(4, "big") * 2


def test_a_xerial_stream_is_told_where_it_ends_too_early() -> None:
    stream = xerial(CONTENT)
    assert told(SNAPPY, stream) == CONTENT
    for end in range(len(stream)):
        if end < len(XERIAL):
            assert told(SNAPPY, stream[:end]) == "damaged", "a bare block, which it is none"
        else:
            expected = b"" if end - len(XERIAL) < 4 else "ends too early"
            assert told(SNAPPY, stream[:end]) == expected, end
    for behind in (b"\0", b"\0\0", b"\0\0\0"):
        assert told(SNAPPY, stream + behind) == CONTENT, "up to three bytes are ignored"
    assert told(SNAPPY, stream + bytes(4)) == "damaged", "a block of no bytes"


def test_a_second_xerial_header_is_passed_over_if_it_is_whole_and_of_a_version() -> None:
    versions = {-1: "damaged", 0: "damaged", 1: CONTENT * 2, 2: CONTENT * 2, 1 << 24: CONTENT * 2}
    for version, expected in versions.items():
        second = b"\x82SNAPPY\0" + version.to_bytes(4, "big", signed=True) + b"\1\1\1\1"
        assert told(SNAPPY, xerial(CONTENT) + second + xerial(CONTENT)[len(XERIAL) :]) == expected
    other = b"\x82SNA----" + bytes(8)  # Java looks at four bytes, and at the version of the whole mark alone
    assert told(SNAPPY, xerial(CONTENT) + other + xerial(CONTENT)[len(XERIAL) :]) == CONTENT * 2
    for end in range(4, len(XERIAL)):
        assert told(SNAPPY, xerial(CONTENT) + XERIAL[:end]) == "ends too early"
    assert told(SNAPPY, xerial(CONTENT) + XERIAL) == CONTENT


@pytest.mark.parametrize("content_checksum", [False, True])
@pytest.mark.parametrize("block_checksum", [False, True])
@pytest.mark.parametrize("store_size", [False, True])
def test_an_lz4_frame_is_told_where_it_ends_too_early(
    content_checksum: bool, block_checksum: bool, store_size: bool
) -> None:
    frame = lz4.frame.compress(
        CONTENT, content_checksum=content_checksum, block_checksum=block_checksum, store_size=store_size,
        block_linked=False,
    )  # fmt: skip
    assert told(LZ4, frame) == CONTENT
    header_bytes = 15 if store_size else 7
    block_bytes = int.from_bytes(frame[header_bytes : header_bytes + 4], "little")
    sum_begins = header_bytes + 4 + block_bytes
    sum_ends = sum_begins + (4 if block_checksum else 0)
    for end in range(len(frame)):
        damaged = end < header_bytes or sum_begins <= end < sum_ends
        assert told(LZ4, frame[:end]) == ("damaged" if damaged else "ends too early"), end
    assert told(LZ4, frame + b"behind") == CONTENT
    for at in range(4):
        assert told(LZ4, frame[:at] + b"?" + frame[at + 1 :]) == "damaged", "its mark"


@pytest.mark.parametrize(("code", "block_bytes_max"), [(0x40, 1 << 16), (0x50, 1 << 18)])
def test_an_lz4_block_holds_what_its_frame_says_and_no_byte_more(code: int, block_bytes_max: int) -> None:
    def framed(size: int, packed: bool) -> bytes:
        head = bytes([0x60, code])
        block = lz4.block.compress(bytes(size), store_size=False) if packed else bytes(size)
        word = len(block) | (0 if packed else 1 << 31)
        head += bytes([xxh32(head) >> 8 & 0xFF])
        return b"\x04\x22\x4d\x18" + head + word.to_bytes(4, "little") + block + bytes(4)

    for packed in (False, True):
        assert told(LZ4, framed(block_bytes_max, packed)) == bytes(block_bytes_max)
        assert told(LZ4, framed(block_bytes_max + 1, packed)) == "damaged"


def test_an_lz4_block_of_the_most_bytes_expands_to_all_of_them() -> None:
    for size in (1, 2, 254, 255, 256, 10_000):
        assert told(LZ4, PACK[LZ4](bytes(size))) == bytes(size)


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_the_limit_is_of_all_pieces_together(codec: int) -> None:
    many = {
        GZIP: gzip.compress(CONTENT) * 3,
        SNAPPY: xerial(CONTENT, CONTENT, CONTENT),
        LZ4: PACK[LZ4](CONTENT * 3),
        ZSTD: making.zstd_frame(CONTENT) * 3,
    }[codec]
    assert told(codec, many, 3 * len(CONTENT)) == CONTENT * 3
    assert told(codec, many, 3 * len(CONTENT) - 1) in (TOO_LARGE, "damaged")


def test_a_zstd_stream_that_is_cut_off_is_told_if_no_frame_ended_in_its_last_read() -> None:
    frame = making.zstd_frame(CONTENT)
    for end in range(1, len(frame)):
        assert told(ZSTD, frame[:end]) == "ends too early", end
        assert told(ZSTD, frame + frame[:end]) == CONTENT, end
    read_bytes = 131_075  # what Java's stream takes at once
    for first_bytes, all_bytes, expected in (
        (read_bytes - 1, read_bytes + 5, "ends too early"),
        (read_bytes, read_bytes + 5, "ends too early"),
        (read_bytes + 1, read_bytes + 5, b""),
        (read_bytes - 5, read_bytes, b""),
        (read_bytes - 5, read_bytes + 1, "ends too early"),
    ):
        data = making.skippable(first_bytes - 8) + frame[: all_bytes - first_bytes]
        assert told(ZSTD, data) == expected, (first_bytes, all_bytes)


@pytest.mark.parametrize("size", [0, 1, 3, 4, 15, 16, 17, 19, 20, 31, 32, 33, 100])
def test_xxh32_of_every_kind_of_end(size: int) -> None:
    content = bytes(range(size))
    frame = lz4.frame.compress(content, content_checksum=True, store_size=False)
    assert frame[-4:] == xxh32(content).to_bytes(4, "little")


@given(st.binary(max_size=200))
def test_xxh32_is_what_lz4_frames_carry(content: bytes) -> None:
    frame = lz4.frame.compress(content, content_checksum=True, store_size=False)
    assert frame[-4:] == xxh32(content).to_bytes(4, "little")


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=40))
def test_gzip_ends_where_no_other_member_begins(content: bytes, behind: bytes) -> None:
    packed = gzip.compress(content)
    if behind[:3] != packed[:3]:
        assert unpack(GZIP, packed + behind, LIMIT) == content


@given(st.binary(max_size=100))
def test_total_over_arbitrary_bytes(data: bytes) -> None:
    for codec in range(1, 5):
        with contextlib.suppress(UnpackError):
            assert len(unpack(codec, data, LIMIT)) <= LIMIT
