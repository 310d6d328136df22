"""From a fetch's bytes to record batches, and from a batch to its values: pure, total over arbitrary bytes.

A batch covers the offsets [base, base + last offset delta], which the broker has assigned and checked, and
nothing else. Its records either are exactly those offsets in order, or it is `Unreadable` as a whole. That
verdict is a function of the batch's bytes and of the limits in schemas/limits.py; nothing that an app sends
raises.
"""

import struct
from typing import NamedTuple, final

from aiokafka.record.util import calc_crc32c

from schemas.limits import BATCH_RECORDS_MAX, BATCH_UNPACKED_BYTES_MAX
from stream.batches import records
from stream.batches.unpack import CODECS, UnpackError, unpack

NO_TIME_MS = -1  # Kafka's own word for it


class RawFetch(NamedTuple):
    """One fetch of one partition, its record batches as the broker sent them."""

    data: bytes  # whole batches; behind them perhaps a piece of one more
    first: int  # the offset where the fetch was to continue
    next: int  # the offset behind the last whole batch
    high_watermark: int  # as the broker says, which reads it before its log: `next` may be beyond it
    last_stable_offset: int  # likewise
    aborted: list[tuple[int, int]]  # (producer_id, first_offset) of transactions


@final
class Unreadable(NamedTuple):
    """Why a batch has no values. `reason` is one of a few fixed texts: it quotes nothing of the app's."""

    codec: str
    reason: str


class Batch(NamedTuple):
    """One record batch as fetched, still packed."""

    base: int  # it covers the offsets base <= o < next
    next: int
    broker_ms: int  # when the broker appended it; NO_TIME_MS if it does not say so
    claimed: int  # records, as its header has it
    codec: int
    payload: bytes | memoryview  # behind the header; a view keeps its whole fetch in memory
    refused: Unreadable | None  # what the header alone already tells


class Damaged(Exception):
    """Bytes that the broker did not write so: our disk, wire or broker, never an app's doing.

    To be fetched again; a source for which that does not help cannot be read on. The text names offset and
    rule.
    """


class _Header(NamedTuple):
    base: int
    batch_bytes: int  # behind this field
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_ms: int
    max_ms: int
    producer_id: int
    producer_epoch: int
    first_sequence: int
    claimed: int


_HEADER = struct.Struct(">qiibIhiqqqhii")
_LENGTH_END, _CRC_END = 12, 21
_CODEC, _LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 7, 8, 16, 32


def batches_of(fetch: RawFetch) -> list[Batch]:
    """The whole batches of data with an offset >= fetch.first, in order.

    Control batches and those of aborted transactions are left out: they move the position only, to
    `fetch.next`. Raises Damaged for a wrong CRC, magic or length, and where a batch does not continue the
    one before it. (A fetch may reach beyond the high watermark that it tells: the broker reads that first,
    and then its log.)
    """
    view, at, due = memoryview(fetch.data), 0, None
    waiting = sorted(fetch.aborted, key=lambda transaction: transaction[1])
    aborted: set[int] = set()  # producers, each until its transaction's marker
    found = []
    while len(view) - at >= _HEADER.size:
        head = _Header._make(_HEADER.unpack_from(view, at))
        batch = view[at : at + _LENGTH_END + head.batch_bytes]
        if not _is_whole(batch, head):
            break
        _check(batch, head, due)
        at += len(batch)
        due = head.base + head.last_offset_delta + 1
        while waiting and waiting[0][1] <= head.base:
            aborted.add(waiting.pop(0)[0])
        if head.attributes & _CONTROL:
            if _ends_aborted(batch, head):
                aborted.discard(head.producer_id)
        elif due > fetch.first and not (head.attributes & _TRANSACTIONAL and head.producer_id in aborted):
            found.append(_batch(head, batch[_HEADER.size :]))
    if view and not at:
        raise Damaged(f"a fetch at offset {fetch.first} without a whole batch")
    return found


def begins(fetch: RawFetch) -> int:
    """The first offset that the fetch's bytes cover; above `fetch.first`, the log lacks what lies between."""
    return int.from_bytes(fetch.data[:8], "big", signed=True)


def values_of(batch: Batch) -> list[bytes] | Unreadable:
    """The values of its next - base records, in the order of offsets, b"" for a null value; or why not."""
    if batch.refused:
        return batch.refused
    try:
        data = unpack(batch.codec, batch.payload, BATCH_UNPACKED_BYTES_MAX)
        return records.values(bytes(data), batch.claimed)
    except (UnpackError, records.RecordError) as error:
        return Unreadable(CODECS[batch.codec], str(error))


def _is_whole(batch: memoryview, head: _Header) -> bool:
    """False for what the end of the fetch cuts off."""
    if _LENGTH_END + head.batch_bytes < _HEADER.size:
        raise Damaged(f"the batch at offset {head.base} is shorter than a header")
    return len(batch) == _LENGTH_END + head.batch_bytes


def _check(batch: memoryview, head: _Header, due: int | None) -> None:
    if head.magic != 2:  # Kafka 4 neither takes nor keeps older ones
        raise Damaged(f"the batch at offset {head.base} is of format {head.magic}, not 2")
    if calc_crc32c(batch[_CRC_END:]) != head.crc:
        raise Damaged(f"the batch at offset {head.base} has another CRC than its header says")
    if head.last_offset_delta < 0 or (due is not None and head.base != due):
        raise Damaged(f"the batch at offset {head.base} does not continue the one before it")


def _batch(head: _Header, payload: memoryview) -> Batch:
    codec = head.attributes & _CODEC
    broker_ms = head.max_ms if head.attributes & _LOG_APPEND_TIME else NO_TIME_MS
    following = head.base + head.last_offset_delta + 1
    return Batch(head.base, following, broker_ms, head.claimed, codec, payload, _refused(head, codec))


def _refused(head: _Header, codec: int) -> Unreadable | None:
    offsets = head.last_offset_delta + 1
    if codec >= len(CODECS):
        return Unreadable(f"codec {codec}", "unknown codec")
    if not head.attributes & _LOG_APPEND_TIME:
        return Unreadable(CODECS[codec], "no time of the broker")
    if offsets > BATCH_RECORDS_MAX:
        return Unreadable(CODECS[codec], "more records than a batch may have")
    if head.claimed != offsets:
        return Unreadable(CODECS[codec], "another number of records than of offsets")
    return None


def _ends_aborted(batch: memoryview, head: _Header) -> bool:
    """Whether a control batch is the marker of an abort: its key is a version and type 0."""
    try:
        key = records.first_key(bytes(batch[_HEADER.size :]))
    except records.RecordError as error:
        raise Damaged(f"the control batch at offset {head.base} cannot be read: {error}") from None
    if len(key) < 4:
        raise Damaged(f"the control batch at offset {head.base} does not say what it marks")
    return key[2:4] == b"\0\0"
