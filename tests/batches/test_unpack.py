"""One batch of each kind that has ended some reader: read as Java reads it, or refused; within the limits.

Which is which, tests/broker/test_second_reader.py asks Java.
"""

import contextlib
import gzip

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.limits import BATCH_FRAMES_MAX
from stream.batches.reader import Unreadable, batches_of, values_of
from stream.batches.unpack import CODECS, TOO_MANY, UnpackError, unpack, xxh32
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
