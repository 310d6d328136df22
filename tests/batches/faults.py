"""Batches with one fault each at random places: what an app decides, what only broker, wire or disk do."""

import random
import struct
from collections.abc import Callable
from functools import partial

from schemas.limits import BATCH_RECORDS_MAX, BATCH_UNPACKED_BYTES_MAX
from stream.batches import records
from stream.batches.unpack import CODECS, xxh32
from tests.batches import making
from tests.batches.making import (
    GZIP,
    LOG_APPEND_TIME,
    LZ4,
    NONE,
    PACK,
    SNAPPY,
    TRANSACTIONAL,
    ZSTD,
    Made,
    varint,
)

NUMBERS = [*(1 << n for n in (0, 1, 6, 7, 13, 14, 20, 21, 31, 32, 35, 62)), (1 << 31) - 1, (1 << 63) - 1]
Random = random.Random


# --- what an app decides: records -------------------------------------------------------------------------

FIELDS = (
    *(
        "length",
        "attributes",
        "time delta",
        "offset delta",
        "key length",
        "value length",
        "number of headers",
    ),
    *("header key length", "header value length"),
)


def odd_number(rng: Random, right: int) -> bytes:
    """Another number than the right one, or the right one in more bytes."""
    number = rng.choice(
        [right + rng.choice((-1, 1, 64, -64)), rng.choice(NUMBERS), -rng.choice(NUMBERS), right]
    )
    return varint(number, rng.choice((1, 1, 2, 3, 4, 5, 6, 10, 11)))


def odd_record(rng: Random, delta: int, field: str | None) -> bytes:
    """A record in which one field has another number."""

    def number(name: str, right: int) -> bytes:
        return odd_number(rng, right) if name == field else varint(right)

    key, value = rng.randbytes(rng.choice((0, 3, 32, 70))), rng.randbytes(rng.choice((0, 1, 60, 130)))
    many = 1 + (field is not None and "header" in field)
    body = bytes([rng.randrange(256) if field == "attributes" else 0])
    body += number("time delta", rng.randrange(200)) + number("offset delta", delta)
    body += number("key length", len(key)) + key + number("value length", len(value)) + value
    body += number("number of headers", many - 1)
    for _ in range(many - 1):
        body += number("header key length", 2) + b"\xff\xfe" + number("header value length", 1) + b"v"
    return number("length", len(body)) + body


def packed(rng: Random, payload: bytes, count: int, **decided: object) -> Made:
    codec = rng.choice((NONE, NONE, GZIP, SNAPPY, LZ4, ZSTD))
    return Made(PACK[codec](payload), count, codec, **decided)


def plain(rng: Random, count: int | None = None) -> tuple[bytes, int]:
    count = count or rng.choice((1, 2, 3, 3, 5, records.FAST_RECORDS_MIN + 5))
    return b"".join(odd_record(rng, delta, None) for delta in range(count)), count


def odd_field(field: str, rng: Random) -> Made:
    count = rng.choice((1, 2, 3, 3, records.FAST_RECORDS_MIN))
    at = rng.randrange(count)
    payload = b"".join(odd_record(rng, delta, field if delta == at else None) for delta in range(count))
    return packed(rng, payload, count)


def flipped(rng: Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if out:
            out[rng.randrange(len(out))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(out)


def flipped_records(rng: Random) -> Made:
    payload, count = plain(rng)
    return packed(rng, flipped(rng, payload), count)


def cut_records(rng: Random) -> Made:
    payload, count = plain(rng)
    return packed(rng, payload[: rng.randrange(len(payload))], count)


def bytes_behind_records(rng: Random) -> Made:
    payload, count = plain(rng)
    return packed(rng, payload + rng.randbytes(rng.choice((1, 2, 8, 100))), count)


def wrong_count(rng: Random) -> Made:
    payload, count = plain(rng)
    said = rng.choice((count - 1, count + 1, 2 * count, BATCH_RECORDS_MAX, BATCH_RECORDS_MAX + 1, 2**31 - 1))
    offsets = rng.choice((said, said, count, count + 1, 2**31 - 1))
    return packed(rng, payload, said, offsets=max(1, offsets))


# --- what an app decides: codecs --------------------------------------------------------------------------


def of_codec(codec: int, change: Callable[[Random, bytes], bytes], rng: Random) -> Made:
    payload, count = plain(rng)
    return Made(change(rng, PACK[codec](payload)), count, codec)


def cut(rng: Random, data: bytes) -> bytes:
    return data[: rng.choice((rng.randrange(len(data)), len(data) - 1, len(data) - 4, len(data) - 9))]


def with_bytes_behind(rng: Random, data: bytes) -> bytes:
    behind = rng.choice((rng.randbytes(rng.choice((1, 3, 4, 16, 30, 9_000))), bytes(4), bytes(40), data))
    return data + behind[: rng.choice((1, 5, 12, 20, 1_000_000))]


def odd_frame_header(rng: Random) -> Made:
    codec = rng.choice((GZIP, SNAPPY, LZ4, LZ4, ZSTD))
    payload, count = plain(rng)
    data = bytearray(PACK[codec](payload))
    data[rng.randrange(min(20, len(data)))] = rng.randrange(256)
    if codec == LZ4 and rng.random() < 0.7:  # with the checksum of what it says now
        end = 14 if data[4] & 8 else 6
        data[end : end + 1] = bytes([xxh32(bytes(data[4:end])) >> 8 & 0xFF])
    return Made(bytes(data), count, codec)


def many_frames(rng: Random) -> Made:
    """The records in pieces, each a member, frame, stream or block; some empty, the last perhaps cut off."""
    codec = rng.choice((GZIP, SNAPPY, LZ4, ZSTD))
    payload, count = plain(rng)
    cuts = sorted(rng.randrange(len(payload) + 1) for _ in range(rng.choice((1, 2, 5))))
    pieces = [payload[i:j] for i, j in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    if codec == LZ4 and rng.random() < 0.8:
        data = making.lz4_made(*pieces, flags=rng.choice((0x60, 0x70, 0x64, 0x68)), tail=b"tail")
    elif codec == SNAPPY and rng.random() < 0.5:
        data = making.xerial(*pieces)
    else:
        data = b"".join(PACK[codec](piece) for piece in pieces)
    if codec == ZSTD and rng.random() < 0.3:
        data = making.skippable(4) + data + making.skippable(4)
    return Made(data[: len(data) - rng.choice((0, 0, 0, 1, 7))], count, codec)


_BOMBS = [
    making.large(codec, value_bytes)
    for codec in (GZIP, SNAPPY, LZ4, ZSTD)
    for value_bytes in (BATCH_UNPACKED_BYTES_MAX - 64, 4 * BATCH_UNPACKED_BYTES_MAX)
]
_BOMBS.append(
    Made(making.zstd_frame(making.records([b"v" * 240] * BATCH_RECORDS_MAX)), BATCH_RECORDS_MAX, ZSTD)
)


def bomb(rng: Random) -> Made:
    """Nearly all say that they are large, some are."""
    if rng.random() < 0.05:
        return rng.choice(_BOMBS)
    said = rng.choice((1 << 24, 1 << 31, (1 << 32) - 1))
    return Made(making.varint(said)[:4] + b"\x0f" + rng.randbytes(30), 1, SNAPPY)


def rubbish(rng: Random) -> Made:
    return Made(
        rng.randbytes(rng.randrange(200)), rng.choice((1, 2, 5)), rng.choice((NONE, GZIP, SNAPPY, LZ4, ZSTD))
    )


def odd_attributes(rng: Random) -> Made:
    """All bits that an app may set, and any codec for these bytes."""
    payload, count = plain(rng)
    return Made(
        PACK[rng.randrange(5)](payload), count, rng.randrange(8), attributes=rng.getrandbits(16) & 0x7FD0
    )


def good(rng: Random) -> Made:
    return packed(rng, *plain(rng))


APP_KINDS: dict[str, Callable[[Random], Made]] = {
    "good": good,
    **{f"record: {field}": partial(odd_field, field) for field in FIELDS},
    "records: bytes flipped": flipped_records,
    "records: cut off": cut_records,
    "records: bytes behind": bytes_behind_records,
    "records: count": wrong_count,
    **{f"{CODECS[codec]}: bytes flipped": partial(of_codec, codec, flipped) for codec in range(1, 5)},
    **{f"{CODECS[codec]}: cut off": partial(of_codec, codec, cut) for codec in range(1, 5)},
    **{
        f"{CODECS[codec]}: bytes behind": partial(of_codec, codec, with_bytes_behind) for codec in range(1, 5)
    },
    "frames: header": odd_frame_header,
    "frames: several": many_frames,
    "frames: bomb": bomb,
    "frames: rubbish": rubbish,
    "header: attributes": odd_attributes,
}

# --- what no app decides: the batch's header, and the fetch around it -------------------------------------

HEADER_FIELDS = {  # where it stands, and as what
    "base": (0, ">q"),
    "length": (8, ">i"),
    "leader epoch": (12, ">i"),
    "magic": (16, ">b"),
    "CRC": (17, ">I"),
    "last offset delta": (23, ">i"),
    "first time": (27, ">q"),
    "max time": (35, ">q"),
    "producer id": (43, ">q"),
    "producer epoch": (51, ">h"),
    "first sequence": (53, ">i"),
    "count": (57, ">i"),
}
Fetched = list[bytes]


def odd_header(field: str, rng: Random) -> Fetched:
    at, form = HEADER_FIELDS[field]
    size, (right,) = struct.calcsize(form), struct.unpack_from(form, (data := good(rng).fetched(3)), at)
    number = rng.choice(
        (right - 1, right + 1, rng.choice(NUMBERS), -rng.choice(NUMBERS), rng.getrandbits(64))
    )
    data = data[:at] + (number % (1 << 8 * size)).to_bytes(size, "big") + data[at + size :]
    return [data if field == "CRC" else making.with_crc(data)]


def cut_fetch(rng: Random) -> Fetched:
    data = good(rng).fetched(3)
    return [data[: rng.randrange(len(data))]]


def out_of_order(rng: Random) -> Fetched:
    return [good(rng).fetched(rng.choice((0, 2, 3, 4, 1 << 40)))]


def rubbish_fetch(rng: Random) -> Fetched:
    return [flipped(rng, rng.randbytes(rng.randrange(200)) + good(rng).fetched(3)[: rng.randrange(200)])]


def control_batch(rng: Random) -> Fetched:
    data = making.marker(3, 7, commit=rng.random() < 0.5)
    return [making.with_crc(data[:61] + flipped(rng, data[61:]))]


def transaction(rng: Random) -> Fetched:
    made = good(rng)
    made = made._replace(attributes=TRANSACTIONAL)
    data = making.batch(
        made.payload,
        made.count,
        made.codec,
        base=3,
        attributes=LOG_APPEND_TIME | TRANSACTIONAL,
        producer=(7, 0, 0),
    )
    return [data, making.marker(3 + made.count, 7, commit=False)]


WIRE_KINDS: dict[str, Callable[[Random], Fetched]] = {
    **{f"header: {field}": partial(odd_header, field) for field in HEADER_FIELDS},
    "fetch: cut off": cut_fetch,
    "fetch: order of batches": out_of_order,
    "fetch: rubbish": rubbish_fetch,
    "fetch: control batch": control_batch,
    "fetch: transaction": transaction,
}
MAY_BE_DAMAGED = {
    *("header: base", "header: length", "header: magic", "header: CRC", "header: last offset delta"),
    *("fetch: cut off", "fetch: order of batches", "fetch: rubbish", "fetch: control batch"),
}
KINDS = [*APP_KINDS, *WIRE_KINDS]
