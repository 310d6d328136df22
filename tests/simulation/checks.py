"""What must hold after a run: the ledger against the model, everything else against the ledger."""

from collections import Counter
from itertools import pairwise

from schemas.block import Block
from schemas.limits import LATE_WINDOW_DAYS
from schemas.report import date_of_day, day_of_date, shanghai_day
from schemas.state import Head, Person
from schemas.topics import COMMANDS
from schemas.verdicts import CODES, Verdict
from sinks.ports import Snapshot
from stream.apply import apply
from stream.cycle_input import Cycle
from stream.decide import Platform, decide
from stream.read import read_records
from tests.simulation import traffic
from tests.simulation.model import Answer, ShardModel
from tests.simulation.services import Violation
from tests.simulation.world import GENESIS, World

_READ = ("verdict", "uid", "reduction_mg", "points_milli", "expiry_day", "balance_milli")


def check(world: World) -> None:
    """Raises `Violation` with the promise that was broken."""
    for shard in range(world.shards):
        rows = Counter(key for block in world.accepted[shard] for key in _coordinates(block))
        sent = {key for key in world.intents if key[1] == shard}
        if set(rows) != sent or set(rows.values()) - {1}:
            wrong = (set(rows) ^ sent) | {key for key, times in rows.items() if times > 1}
            raise Violation(f"not exactly one row: {sorted(wrong)[:3]}")
        model = _compare_with_model(world, shard)
        _compare_store(world, shard, model)
        _compare_archive(world, shard)
        _replay(world, shard)
    _count_situations(world)


def _coordinates(block: Block) -> list[tuple[str, int, int]]:
    topics = [span.topic for span in block.meta.sources]
    pairs = zip(block.rows.column("source").to_pylist(), block.rows.column("offset").to_pylist(), strict=True)
    return [(topics[source], block.meta.shard, offset) for source, offset in pairs if source >= 0]


def _compare_with_model(world: World, shard: int) -> ShardModel:
    """Every row of the ledger is the one that the model predicts, in order."""
    model = ShardModel()
    for block in world.accepted[shard][1:]:
        times = block.rows.column("time_ms").to_pylist()[-len(_coordinates(block)) :]
        keys = _coordinates(block)
        records = [(key[0], world.intents[key], time) for key, time in zip(keys, times, strict=True)]
        expected = model.block(records)
        columns = [block.rows.column(name).to_pylist() for name in _READ]
        found = [_answer(*row) for row in zip(*columns, strict=True)]
        for want, got in zip(expected, found, strict=True):
            if want != got:
                raise Violation(
                    f"shard {shard} block {block.meta.seq}: the model says {want}, the ledger {got}"
                )
            world.count(f"verdict: {got.verdict}")
    return model


def _answer(verdict: int, uid: str, reduction: int, points: int, day: int, balance: int) -> Answer:
    return Answer(CODES[verdict], uid, reduction, points, date_of_day(day) if day else None, balance)


def _compare_store(world: World, shard: int, model: ShardModel) -> None:
    """Redis holds what the model holds, and the ledger's head."""
    if world.store.head_hash(shard) != world.heads[shard]:
        raise Violation(f"shard {shard}: Redis is not at the ledger's head")
    found = {uid: p.lots for uid, p in world.store.all_persons(shard).items() if p.lots}
    wanted = {uid: {day_of_date(d): p for d, p in lots.items()} for uid, lots in model.lots.items() if lots}
    if found != wanted:
        differ = next(uid for uid in found.keys() | wanted.keys() if found.get(uid) != wanted.get(uid))
        raise Violation(
            f"shard {shard}: lots of {differ}: Redis {found.get(differ)}, model {wanted.get(differ)}"
        )


def _compare_archive(world: World, shard: int) -> None:
    archived = {seq: b.block.hash for (s, seq), b in world.archive.blocks.items() if s == shard}
    wanted = {block.meta.seq: block.hash for block in world.accepted[shard]}
    if archived != wanted:
        raise Violation(
            f"shard {shard}: the archive has blocks {sorted(archived)}, the ledger {sorted(wanted)}"
        )


def _replay(world: World, shard: int) -> None:
    """Decided again from the ledger's own order, every block comes out with the same hash; and `apply`
    folds it."""
    platform = Platform("sim", world.shards, bytes.fromhex(GENESIS["dedupe_key"]), True, traffic.rules())
    head, persons, members = Head(), {}, {}
    for block in world.accepted[shard]:
        if block.meta.seq:
            cycle = _cycle_of(world, block)
            reading = read_records(cycle, platform.rules, platform.dedupe_key)
            seen = {m for day, ms in reading.lookups.items() for m in ms if m in members.get(day, ())}
            before = Snapshot(head.hash, persons, seen)
            again = decide(
                platform, head, cycle, reading, before.persons, before.seen, block.meta.published_to
            )
            if again.hash != block.hash:
                raise Violation(f"shard {shard} block {block.meta.seq}: decided again, it is another")
        change = apply(block, head, persons, head.ledger_next)
        head, persons = change.head, persons | change.persons
        for day in change.retired_days:
            members.pop(day, None)
        for day, new in change.members.items():
            members.setdefault(day, set()).update(new)
    if {u: p for u, p in persons.items() if p != Person()} != {
        u: p for u, p in world.store.all_persons(shard).items() if p != Person()
    }:
        raise Violation(f"shard {shard}: Redis is not the fold of the ledger")


def _cycle_of(world: World, block: Block) -> Cycle:
    table = block.rows.filter(block.rows.column("source").to_numpy() >= 0)
    columns = {name: table.column(name).to_pylist() for name in ("source", "offset", "broker_ms", "time_ms")}
    topics = [span.topic for span in block.meta.sources]
    values = [
        world.intents[topics[s], block.meta.shard, o].value
        for s, o in zip(columns["source"], columns["offset"], strict=True)
    ]
    return Cycle(block.meta.shard, block.meta.sources, *columns.values(), values)


def _count_situations(world: World) -> None:
    """Situations that are seen in the ledger itself."""
    for chain in world.accepted.values():
        for before, block in pairwise(chain):
            sources = set(block.rows.column("source").to_pylist())
            topics = {block.meta.sources[s].topic for s in sources if s >= 0}
            if len(topics - {COMMANDS}) > 1:
                world.count("cycle: two apps merged")
            if shanghai_day(before.meta.time_ms) != shanghai_day(block.meta.time_ms):
                world.count("cycle: another day")
            if shanghai_day(block.meta.time_ms) - shanghai_day(before.meta.time_ms) > LATE_WINDOW_DAYS:
                world.count("time: a jump beyond the late window")
            verdicts = block.rows.column("verdict").to_pylist()
            if int(Verdict.ALREADY_CLAIMED) in verdicts and int(Verdict.CREDITED) in verdicts:
                world.count("claim: won and lost in one cycle")
