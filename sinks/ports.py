"""What the cycle needs of the outside, as five small interfaces; each has a real and an in-memory form.

All methods are coroutines. A failure whose effect is not known raises `Doubt`: the caller then recovers,
which settles it by reading the ledger.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from schemas.block import Block
from schemas.ledger_record import LedgerRecord
from schemas.outcome import Message
from schemas.state import Change, Head, Person


class Doubt(Exception):
    """What was asked may or may not have happened, or another worker was faster. Recovery settles it."""


class LedgerGap(Exception):
    """Records of the ledger that were there are gone: nothing here can go on."""


class BlockTooLarge(Exception):
    """A block that the ledger will never take: no doubt."""


def known(asked: asyncio.Future) -> None:
    """As a done callback: an error that nobody looks at would end a worker, though who asked has gone on."""
    if not asked.cancelled():
        asked.exception()


class Snapshot(NamedTuple):
    """One consistent read of a shard: the head's hash, then what belongs to it."""

    head_hash: bytes
    persons: dict[str, Person]
    seen: set[int]


class Store(Protocol):
    """The projection (Redis), as one worker sees it: a shard is read, and then moved from what was read."""

    async def load_head(self, shard: int) -> Head | None:
        """The whole head; None where the shard has none or was torn, so that it must be rebuilt."""

    async def read(self, shard: int, uids: list[str], lookups: dict[int, list[int]]) -> Snapshot:
        """Persons that exist, and which of the members (by generation) are remembered; `Doubt` where torn.

        From here on the shard is watched, until the next commit or doubt.
        """

    async def commit(self, change: Change) -> None:
        """Moves the shard from `change.prev` to `change.head`, whole or not at all.

        `Doubt` if `change.prev` is not what the last read found, or if anybody has written since; also where
        only a part was done: the shard has no usable head then.
        """

    async def reset(self, shard: int) -> int:
        """Forgets everything of a shard, so that the ledger can be folded from its beginning. Returns how
        many values and sets that was, beside the head."""

    async def close(self) -> None:
        """Ends the connections."""


class Ledger(Protocol):
    """The truth (Kafka topic `ledger`): one partition a shard, append only."""

    async def append(self, block: Block) -> int:
        """Appends, and returns the offset; `Doubt` where it may or may not have been written, `BlockTooLarge`
        where it never will be."""

    async def end(self, shard: int) -> int:
        """The offset that the next record will get."""

    def read(self, shard: int, start: int, end: int) -> AsyncIterator[tuple[int, LedgerRecord]]:
        """Records at offsets start <= o < end, in order, blocks or not. `LedgerGap` where one is gone."""

    async def renew(self, shard: int) -> None:
        """Gives the shard a new producer, after a doubt: the old one may still be retrying."""

    async def close(self) -> None:
        """Ends all producers."""


class Topics(Protocol):
    """Which topics there are (Kafka): a topic's name may be given again, its id never is."""

    async def ids(self, topics: list[str]) -> dict[str, str]:
        """The ids of those that exist, asked after this call; `Doubt` where nobody answers."""

    async def close(self) -> None:
        """Ends."""


class Publisher(Protocol):
    """Outcomes and dead letters (Kafka)."""

    async def start(self) -> None:
        """Connects; once, before anything is published."""

    async def publish(self, shard: int, messages: dict[str, list[Message]]) -> set[str]:
        """Returns when all messages are on Kafka, at least once; but for those of topics that do not exist,
        which are returned."""

    async def close(self) -> None:
        """Ends; what was not published is published again after the next recovery."""
