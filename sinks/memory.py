"""Store, ledger, topics and publisher in memory: the same promises as the real ones, without I/O or a clock.

One object is the shared service; workers that share it compete as they would over Redis and Kafka. Every
port call begins with a turn of the event loop (`turn`), so calls of several workers interleave at the same
places in every run. What is stored is bytes, as outside: nobody can change a value that another one holds.
"""

import asyncio
import copy
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from functools import partial

from schemas.block import Block
from schemas.ledger_record import LedgerRecord, headers_of, read_record
from schemas.outcome import Message
from schemas.state import ZERO_HASH, Change, Head, Person, decode_person, encode_person
from sinks.fingerprint import FINGERPRINT
from sinks.ports import Doubt, Snapshot


async def turn() -> None:
    """Lets the other tasks run. Waits for nothing."""
    await asyncio.sleep(0)


class _ShardState:
    """What Redis holds of one shard in one projection."""

    def __init__(self) -> None:
        self.head: Head | None = None
        self.torn = ""
        self.persons: dict[str, bytes] = {}
        self.members: dict[int, set[int]] = {}
        self.spoilt_days: set[int] = set()

    def head_hash(self) -> bytes:
        return self.head.hash if self.head else ZERO_HASH


class MemoryRedis:
    """The server that the stores of several workers share, and what may happen to it.

    `copy_of` and `restore` stand for a replica that lags behind and takes over: with all its projections.
    """

    def __init__(self) -> None:
        self._shards: dict[int, dict[str, _ShardState]] = defaultdict(partial(defaultdict, _ShardState))
        self._touched: Counter[int | tuple[int, str]] = Counter()  # of a head, or of all heads of a shard
        self.resets = 0

    def state(self, shard: int, projection: str = FINGERPRINT) -> _ShardState:
        """What one projection holds of a shard."""
        return self._shards[shard][projection]

    def touches(self, shard: int, projection: str) -> int:
        """How often a head was written: what WATCH sees."""
        return self._touched[shard] + self._touched[shard, projection]

    def touch(self, shard: int, projection: str) -> None:
        """A head is written."""
        self._touched[shard, projection] += 1

    def members(self, shard: int) -> dict[int, set[int]]:
        """Every dedupe member of a shard, by generation; for audits."""
        return copy.deepcopy(self.state(shard).members)

    def tear(self, shard: int, mark: str = "reset", projection: str = FINGERPRINT) -> None:
        """As a reset leaves a shard when it is cut off."""
        self.state(shard, projection).torn = mark
        self.touch(shard, projection)

    def spoil(self, shard: int, day: int, projection: str = FINGERPRINT) -> None:
        """A foreign hand makes something of a generation to which no members can be added."""
        self.state(shard, projection).spoilt_days.add(day)

    def forget(self, shard: int, projection: str) -> None:
        """What one projection holds of a shard is gone."""
        self._shards[shard].pop(projection, None)
        self.touch(shard, projection)

    def copy_of(self, shard: int) -> dict[str, _ShardState]:
        """The shard as it is now, for `restore`."""
        return copy.deepcopy(self._shards[shard])

    def restore(self, shard: int, copied: dict[str, _ShardState] | None) -> None:
        """Puts an earlier copy in place, or empties the shard: acknowledged writes are lost."""
        self._shards[shard] = copy.deepcopy(copied) if copied else defaultdict(_ShardState)
        self._touched[shard] += 1


class MemoryStore:
    """`Store` of one worker, over a server that others may share."""

    def __init__(self, server: MemoryRedis | None = None, projection: str = FINGERPRINT) -> None:
        self._server, self.projection = server or MemoryRedis(), projection
        self._watched: dict[int, tuple[bytes, int]] = {}  # by shard: the head that was read, and its touches

    def _state(self, shard: int) -> _ShardState:
        return self._server.state(shard, self.projection)

    async def load_head(self, shard: int) -> Head | None:
        await turn()
        state = self._state(shard)
        return None if state.torn else state.head

    async def read(self, shard: int, uids: list[str], lookups: dict[int, list[int]]) -> Snapshot:
        await turn()
        self._watched.pop(shard, None)
        state = self._state(shard)
        if state.torn:
            raise Doubt("another worker rebuilds this shard, or was interrupted at it")
        if state.spoilt_days & lookups.keys():
            self._server.tear(shard, "broken", self.projection)
            raise Doubt("a key of this shard is none of ours")
        persons = {uid: decode_person(state.persons[uid]) for uid in uids if uid in state.persons}
        seen = {m for day, members in lookups.items() for m in members if m in state.members.get(day, ())}
        self._watched[shard] = state.head_hash(), self._server.touches(shard, self.projection)
        return Snapshot(state.head_hash(), persons, seen)

    async def commit(self, change: Change) -> None:
        await turn()
        head_hash, touches = self._watched.pop(change.shard, (None, 0))
        if head_hash != change.prev:
            raise Doubt("the head that this begins at is not watched")
        if touches != self._server.touches(change.shard, self.projection):
            raise Doubt("the head was touched since it was read")
        state = self._state(change.shard)
        state.persons |= {uid: encode_person(person) for uid, person in change.persons.items()}
        for day in change.retired_days:
            state.members.pop(day, None)
            state.spoilt_days.discard(day)
        for day, members in change.members.items():
            if day not in state.spoilt_days:
                state.members.setdefault(day, set()).update(members)
        state.head = copy.deepcopy(change.head)
        self._server.touch(change.shard, self.projection)
        if state.spoilt_days & change.members.keys():  # the rest is done: nobody may take it for whole
            self._server.tear(change.shard, "broken", self.projection)
            raise Doubt("a command failed inside the transaction")

    async def reset(self, shard: int) -> int:
        await turn()
        self._watched.pop(shard, None)
        self._server.resets += 1
        token = str(self._server.resets)
        self._server.tear(shard, token, self.projection)
        await turn()
        state = self._state(shard)
        if state.torn != token:
            raise Doubt("another worker rebuilds this shard")
        self._server.forget(shard, self.projection)
        return len(state.persons) + len(state.members)

    async def persons(self, shard: int) -> dict[str, Person]:
        """Every person of a shard; for audits."""
        return {uid: decode_person(value) for uid, value in self._state(shard).persons.items()}

    def lose_connection(self, shard: int) -> None:
        """Another one takes its place, on which nothing is watched."""
        self._watched.pop(shard, None)

    async def close(self) -> None:
        """Nothing to end."""


class MemoryLedger:
    """`Ledger`. Holds the records as the topic would: value and headers."""

    def __init__(self) -> None:
        self._records: dict[int, list[tuple[bytes, list[tuple[str, bytes]]]]] = defaultdict(list)

    async def append(self, block: Block) -> int:
        await turn()
        return self.put(block.meta.shard, block.value, headers_of(block.record))

    def put(self, shard: int, value: bytes, headers: list[tuple[str, bytes]]) -> int:
        """Appends any record, a block or not, and returns its offset."""
        self._records[shard].append((value, headers))
        return len(self._records[shard]) - 1

    async def end(self, shard: int) -> int:
        await turn()
        return len(self._records[shard])

    async def read(self, shard: int, start: int, end: int) -> AsyncIterator[tuple[int, LedgerRecord]]:
        await turn()
        for offset in range(start, end):
            yield offset, read_record(*self._records[shard][offset])

    def truncate(self, shard: int, end: int) -> None:
        """Loses the records from offset `end` on, as an unclean leader election does."""
        del self._records[shard][end:]

    async def renew(self, shard: int) -> None:
        await turn()

    async def close(self) -> None:
        """Nothing to end."""


class MemoryTopics:
    """`Topics`. `known`: the ids of the topics that exist."""

    def __init__(self, known: dict[str, str]) -> None:
        self.known = known

    async def ids(self, topics: list[str]) -> dict[str, str]:
        await turn()
        return {topic: self.known[topic] for topic in topics if topic in self.known}

    async def close(self) -> None:
        """Nothing to end."""


class MemoryPublisher:
    """`Publisher`. `published` lists (topic, partition, message) in the order of their arrival."""

    def __init__(self) -> None:
        self.published: list[tuple[str, int, Message]] = []
        self.missing: set[str] = set()  # topics that do not exist

    async def start(self) -> None:
        await turn()

    async def publish(self, shard: int, messages: dict[str, list[Message]]) -> set[str]:
        await turn()
        for topic, batch in messages.items():
            if topic not in self.missing:
                self.published += [(topic, shard, message) for message in batch]
        return messages.keys() & self.missing

    async def close(self) -> None:
        """Nothing to end."""
