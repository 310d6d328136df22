"""ClickHouse's format Native as a client of its HTTP interface asks for it with `client_protocol_version`.

chDB writes Native only as for a client that names no version: without what clickhouse-go (and so Grafana)
expects around each block and column, and without the time zones of DateTime. Its format Buffers has the
same bytes of each column, and says how many they are; so the blocks are put together here.
"""

import struct

from sinks.clickhouse.errors import QueryRefused

LOW_CARDINALITY, CUSTOM_SERIALIZATION = 54405, 54454  # what clients from these versions on can read
_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"  # field 1: no overflow rows; field 2: no bucket; end
_U64 = struct.Struct("<Q")


def check_version(protocol_version: int) -> None:
    """Raises `QueryRefused` if no client that is in use has this version: older ones need types replaced."""
    if 0 < protocol_version < LOW_CARDINALITY:
        message = f"client_protocol_version must be 0 or at least {LOW_CARDINALITY} here"
        raise QueryRefused.of(36, "BAD_ARGUMENTS", message)


def native_blocks(buffers: bytes, columns: list[tuple[str, str]], protocol_version: int) -> bytes:
    """A result in format Buffers, with its columns' names and types, as Native of `protocol_version`."""
    marked = b"\x00" if protocol_version >= CUSTOM_SERIALIZATION else b""  # the type's own serialization
    headers = [_text(name) + _text(type_name) + marked for name, type_name in columns]
    view, at = memoryview(buffers), 0
    parts: list[bytes | memoryview] = []

    def number() -> int:
        nonlocal at
        at += _U64.size
        return _U64.unpack_from(view, at - _U64.size)[0]

    while at < len(view):
        assert number() == len(columns), "the result has other columns than were announced"
        parts += [_BLOCK_INFO, _varint(len(columns)), _varint(number())]
        for header in headers:
            size = number()
            parts += [header, view[at : at + size]]
            at += size
    return b"".join(parts)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _varint(len(encoded)) + encoded


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])
