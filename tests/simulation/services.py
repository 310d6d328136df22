"""Redis, Kafka's ledger and ClickHouse as the simulation has them: the memory forms, and a look inside."""

import datetime as dt
from typing import Any

from faust.types.tuples import TP

from schemas.block import Block
from schemas.ledger_record import LedgerRecord
from schemas.state import ZERO_HASH, Person, decode_person, encode_person
from sinks.clickhouse.memory import MemoryArchive
from sinks.clickhouse.run import Run
from sinks.fingerprint import FINGERPRINT
from sinks.memory import MemoryLedger, MemoryRedis
from tests.releases.release import Release


class Violation(AssertionError):
    """A promise was broken."""


class Ledger(MemoryLedger):
    """The topic, and a look at its records."""

    def records(self, shard: int) -> list[tuple[bytes, list[tuple[str, bytes]]]]:
        return self._records[shard]


class Redis(MemoryRedis):
    """Redis, and a look at its heads. `whole`: (projection, shard) to whose head nothing happened."""

    def __init__(self) -> None:
        super().__init__()
        self.whole: set[tuple[str, int]] = set()

    def names(self) -> set[str]:
        """The projections that there are."""
        return {name for by_name in self._shards.values() for name in by_name}

    def tear(self, shard: int, mark: str = "reset", projection: str = FINGERPRINT) -> None:
        self.whole.discard((projection, shard))
        super().tear(shard, mark, projection)

    def spoil(self, shard: int, day: int, projection: str = FINGERPRINT) -> None:
        self.whole.discard((projection, shard))
        super().spoil(shard, day, projection)

    def restore(self, shard: int, copied: object | None) -> None:
        self.whole = {(name, number) for name, number in self.whole if number != shard}
        super().restore(shard, copied)

    def all_persons(self, shard: int, projection: str = FINGERPRINT) -> dict[str, Person]:
        return {uid: decode_person(value) for uid, value in self.state(shard, projection).persons.items()}

    def others(self, shard: int, projection: str) -> dict[str, bytes]:
        """The hashes of the heads of all other projections that are whole, by their names."""
        return {
            name: state.head.hash
            for name, state in self._shards[shard].items()
            if name != projection and state.head and not state.torn
        }

    def overwrite(self, shard: int, projection: str, uid: str, person: Person) -> None:
        """What no worker would do."""
        self.state(shard, projection).persons[uid] = encode_person(person)

    def heal(self, shard: int) -> None:
        """What made a command fail is gone, as a right that is given back: no read finds it any more."""
        for state in self._shards[shard].values():
            state.spoilt_days.clear()

    def head_hash(self, shard: int, projection: str = FINGERPRINT) -> bytes:
        state = self.state(shard, projection)
        return state.head.hash if state.head and not state.torn else ZERO_HASH


class CountingArchive(MemoryArchive):
    """A table that remembers inserts by token, folds equal rows, and can lose what was not on its disk."""

    def __init__(self) -> None:
        super().__init__()
        self._tokens: set[str] = set()
        self._last: Run | None = None

    def insert(self, run: Run) -> bool:
        """Applies an insert; whether its token was known, so that nothing happened."""
        if run.token in self._tokens and (run.shard, run.last_seq) in self.blocks:
            return True
        self._tokens.add(run.token)
        for found in run.blocks:
            key = (run.shard, found.block.meta.seq)
            if key in self.blocks and self.blocks[key].block.hash != found.block.hash:
                raise Violation(f"the archive has two different blocks {key}")
            self.blocks[key] = found
        self._last = run
        return False

    def last(self, shard: int) -> int:
        return max((seq for s, seq in self.blocks if s == shard), default=-1)

    def lose_last(self) -> bool:
        run, self._last = self._last, None
        if run is None or self.last(run.shard) != run.last_seq:
            return False
        for found in run.blocks:
            self.blocks.pop((run.shard, found.block.meta.seq), None)
        return True


_blocks: dict[tuple[str, bytes], Block] = {}


def opened_next(release: Release, record: LedgerRecord, shard: int, seq: int) -> Block:
    """A release's `open_next`, once for each record of the ledger, however many readers it has."""
    block = _blocks.get((release.name, record.hash))
    if block is None:
        if len(_blocks) > 2_000:
            _blocks.clear()
        block = release["schemas.block"].open_next(record, shard, seq)
        _blocks[release.name, record.hash] = block
    return block


def month(block: Block) -> tuple[int, int]:
    """The UTC month of a block's time, by which the archive is partitioned."""
    at = dt.datetime.fromtimestamp(block.meta.time_ms / 1000, dt.UTC)
    return at.year, at.month


def unsettled(world: Any) -> str:
    """What is still missing of everything sent being decided, stored, published and archived; '' if
    nothing."""
    for shard in range(world.shards):
        chain = world.accepted[shard]
        for topic, topic_id in world.broker.ids.items():
            end = world.broker.ends[TP(topic, shard)]
            source = world.positions[shard].get(topic)
            if end and source != (topic_id, end):
                return f"records of shard {shard} in {topic} are not decided"
            if source and source[0] != topic_id:
                return f"{topic} is not adopted in shard {shard}"
        if world.archive.last(shard) != chain[-1].meta.seq:
            return f"shard {shard} is not archived"
        if world.redis.head_hash(shard, world.upgrade.in_use(shard)) != world.heads[shard]:
            return f"Redis of shard {shard} is not at the ledger's head"
    return "" if world.published == set().union(*world.wanted.values()) else "outcomes are missing"
