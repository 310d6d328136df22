"""When a record of topic `ledger` counts. This rule is frozen for all releases.

A record counts if and only if its header `prev` is the hash of the record that counted before it, and its
header `hash` is SHA-256(b"points-ledger\\n" + prev + value). Nobody looks inside to decide it, so releases
that write different blocks agree on the chain, and whatever else stands in the topic (a former owner's block,
garbage) is ignored by all readers alike. The format of the value is its first two bytes; see
schemas/block.py.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

_DOMAIN = b"points-ledger\n"
FORMAT_BYTES = 2  # big-endian, at the beginning of the value; the header `format` repeats it as text


class LedgerRecord(NamedTuple):
    """A record of topic `ledger`, not looked into. `prev` and `hash` are what its headers claim."""

    prev: bytes
    hash: bytes
    value: bytes
    release: str = ""  # who wrote it, for messages alone

    def follows(self, head: bytes) -> bool:
        """Whether it counts for a reader whose head is `head`."""
        return self.prev == head and self.hash == record_hash(self.prev, self.value)

    @property
    def format(self) -> int:
        """The format number of the value; 0 if it is too short to have one."""
        return int.from_bytes(self.value[:FORMAT_BYTES], "big")


def record_hash(prev: bytes, value: bytes) -> bytes:
    """The hash of the record that holds `value` and follows the record with hash `prev`; 32 bytes."""
    digest = hashlib.sha256(_DOMAIN)
    digest.update(prev)
    digest.update(value)
    return digest.digest()


def read_record(value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> LedgerRecord:
    """The record as its headers describe it. Total: what lacks them follows no head."""
    named = dict(headers)
    release = (named.get("release") or b"").decode("utf-8", "replace")
    return LedgerRecord(named.get("prev") or b"", named.get("hash") or b"", value or b"", release)


def headers_of(record: LedgerRecord) -> list[tuple[str, bytes]]:
    """The headers with which a record is written."""
    return [
        ("prev", record.prev),
        ("hash", record.hash),
        ("format", str(record.format).encode()),
        ("release", record.release.encode()),
    ]
