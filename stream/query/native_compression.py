"""ClickHouse's own compression of a body, as `compress=1` asks for it: blocks with a checksum each.

A block is CityHash128 of what follows it, the method (LZ4), the sizes of the block from the method on and of
its content, and the content, compressed.
"""

import struct

import cramjam
from clickhouse_cityhash.cityhash import CityHash128

BLOCK_BYTES = 1 << 20  # ClickHouse's max_compress_block_size
_LZ4 = 0x82
_HEAD = struct.Struct("<BII")
_CHECKSUM = struct.Struct("<QQ")


def in_blocks(body: bytes) -> bytes:
    """`body`, compressed; b'' of nothing."""
    view = memoryview(body)
    return b"".join(_block(view[at : at + BLOCK_BYTES]) for at in range(0, len(body), BLOCK_BYTES))


def _block(content: memoryview) -> bytes:
    compressed = bytes(cramjam.lz4.compress_block(content, store_size=False))
    block = _HEAD.pack(_LZ4, _HEAD.size + len(compressed), len(content)) + compressed
    checksum = CityHash128(block)
    return _CHECKSUM.pack(checksum >> 64, checksum & (1 << 64) - 1) + block
