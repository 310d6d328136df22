"""A golden ledger: what was said, the records that were written of it, and the state to which they fold.

Everything here is asked of a release's code, so that a later one can be asked the same.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from schemas.state import ZERO_HASH
from stream.batches.fetch import Fetch
from stream.batches.reader import Batch, Unreadable
from tests.golden import scenario
from tests.golden.scenario import Said, Turn
from tests.making import packed, remember
from tests.releases.release import Release

FOLDER = Path(__file__).parent
RULES = FOLDER / "rules"


class Written(msgspec.Struct):
    """A record of topic `ledger`: its headers and its value."""

    prev: bytes
    hash: bytes
    release: str
    value: bytes


class Golden(NamedTuple):
    """`turns`: the inputs; `records`: in the order of their offsets; `state`: see `State`."""

    turns: list[Turn]
    records: list[Written]
    state: dict[str, Any]


class State:
    """What a ledger folds to, by a release's own `apply`."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self.head = release["schemas.state"].Head()
        self.persons: dict[str, Any] = {}
        self.members: dict[int, set[int]] = {}
        self.outcomes: list[tuple[str, str, str]] = []

    def take(self, block: Any, offset: int) -> None:
        """The state after a block that was found at a ledger offset."""
        change = self._release["stream.core.apply"].apply(block, self.head, self.persons, offset)
        self.head = change.head
        self.persons |= change.persons
        remember(self.members, change)
        for topic, messages in self._release["schemas.outcome"].messages_of(block).items():
            self.outcomes += [(topic, (m.key or b"").decode(), m.value.decode()) for m in messages]

    def told(self) -> dict[str, Any]:
        """As it is kept in a file."""
        members = {str(day): sorted(members) for day, members in self.members.items() if members}
        said = {
            "head": self.head,
            "persons": dict(sorted(self.persons.items())),
            "members": members,
            "outcomes": self.outcomes,
        }
        return msgspec.json.decode(msgspec.json.encode(said))


def opened(release: Release, records: list[Written]) -> list[Any]:
    """The blocks of records that all count, one after the other."""
    blocks, head = [], ZERO_HASH
    for seq, written in enumerate(records):
        record = release["schemas.ledger_record"].LedgerRecord(
            written.prev, written.hash, written.value, written.release
        )
        assert record.follows(head), f"the record at offset {seq} does not count any more"
        head = record.hash
        blocks.append(release["schemas.block"].open_next(record, scenario.SHARD, seq))
    return blocks


def decided(release: Release, turns: list[Turn], chain: Sequence[Any] = ()) -> Iterator[Any]:
    """Blocks as a release decides them: each on the state that `chain` leaves, and behind that on its own."""
    block_of, core = release["schemas.block"], release["stream.core.decide"]
    begins = block_of.Span(*msgspec.structs.astuple(scenario.begins()))
    state, offset = State(release), 0

    def settled(block: Any) -> Any:
        nonlocal offset
        state.take(chain[offset] if offset < len(chain) else block, offset)
        offset += 1
        return block

    yield settled(
        block_of.genesis_block(
            scenario.PLATFORM, scenario.SHARD, scenario.GENESIS, scenario.BEGINS_MS, [begins]
        )
    )
    platform = release["stream.core.platform"].Platform(
        scenario.PLATFORM,
        scenario.GENESIS["shards"],
        scenario.KEY,
        scenario.GENESIS["simulated_clock"],
        scenario.GENESIS["fair_rows_s"],
        release["schemas.rules"].load_rules(RULES),
    )
    for turn in turns:
        for cycle in _cycles(release, state, turn):
            reading = release["stream.core.read"].read_records(
                cycle, platform.rules, platform.dedupe_key, state.head.format
            )
            lookups = reading.members.lookups.items()
            seen = {m for day, ms in lookups for m in ms if m in state.members.get(day, ())}
            lags = {topic: release["schemas.state"].Lag(at, ZERO_HASH) for topic, at in turn.waiting.items()}
            published_to = turn.published_to
            yield settled(
                core.decide(platform, state.head, cycle, reading, state.persons, seen, published_to, lags)
            )


def _cycles(release: Release, state: State, turn: Turn) -> Iterator[Any]:
    """A turn's cycles; each is taken once the one before is applied."""
    day = release["schemas.report"].shanghai_day(turn.said[-1].broker_ms)
    left = list(turn.said)
    while left:
        buffer = release["stream.core.cycle_input"].Buffer(
            scenario.SHARD, state.head.sources, scenario.GENESIS["fair_rows_s"]
        )
        for said in left:
            assert buffer.add(_fetched(said)), f"{said.topic} does not go on at offset {said.base}"
        cycle = buffer.take(state.head, day)
        yield cycle
        done = {span.topic: span.next for span in cycle.sources}
        left = [said for said in left if said.next > done.get(said.topic, 0)]


def _fetched(said: Said) -> Fetch:
    batch = packed(said.base, *map(scenario.bytes_of, said.values), ms=said.broker_ms)
    if said.unreadable:
        refused = Unreadable("none", "another number of records than of offsets")
        batch = Batch(said.base, said.next, said.broker_ms, len(said.values), 0, b"\x01", refused)
    return Fetch(said.topic, scenario.SHARD, said.base, said.next, [batch], said.next)


def read(folder: Path) -> Golden:
    """A golden ledger from its files."""
    turns = msgspec.json.decode((folder / "inputs.json").read_bytes(), type=list[Turn])
    records = msgspec.json.decode((folder / "ledger.json").read_bytes(), type=list[Written])
    return Golden(turns, records, msgspec.json.decode((folder / "state.json").read_bytes()))


def write(folder: Path, golden: Golden) -> None:
    """Its files, in lines that a change can be read from."""
    folder.mkdir(exist_ok=True)
    for name, content in zip(("inputs", "ledger", "state"), golden, strict=True):
        text = msgspec.json.format(msgspec.json.encode(content), indent=1)
        (folder / f"{name}.json").write_bytes(text + b"\n")


def written(block: Any) -> Written:
    """A block as the topic has it."""
    return Written(block.prev, block.hash, block.meta.release, block.value)


def made(release: Release, turns: list[Turn]) -> Golden:
    """A ledger as a release writes it."""
    state, records = State(release), []
    for offset, block in enumerate(decided(release, turns)):
        state.take(block, offset)
        records.append(written(block))
    return Golden(turns, records, state.told())
