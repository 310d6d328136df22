"""What must hold after a run: the ledger against the model, everything else against the ledger."""

from collections import Counter
from itertools import pairwise

from schemas.block import Block
from schemas.kinds import Kind
from schemas.limits import LATE_WINDOW_DAYS
from schemas.report import date_of_day, day_of_date, shanghai_day
from schemas.state import Head, Person
from schemas.topics import COMMANDS, app_of
from schemas.verdicts import CODES, Verdict
from sinks.ports import Snapshot
from stream.batches.reader import Unreadable
from stream.core.apply import apply
from stream.core.cycle_input import Cycle
from stream.core.decide import decide
from stream.core.platform import Platform
from stream.core.read import read_records
from tests.simulation import traffic
from tests.simulation.fair import check_fair_order
from tests.simulation.kafka import Place
from tests.simulation.model import Answer, Record, ShardModel
from tests.simulation.operator import GENESIS
from tests.simulation.releases import OTHER, RELEASES, turned
from tests.simulation.services import Violation
from tests.simulation.world import World

_READ = ("verdict", "uid", "reduction_mg", "points_milli", "expiry_day", "balance_milli")


def check(world: World) -> None:
    """Raises `Violation` with the promise that was broken."""
    for shard in range(world.shards):
        _check_coverage(world, shard)
        _check_commands_first(world, shard)
        model = _compare_with_model(world, shard)
        _compare_store(world, shard, model)
        _compare_archive(world, shard)
        _replay(world, shard)
    _count_situations(world)


def _check_coverage(world: World, shard: int) -> None:
    """Every offset of every source is covered by exactly one row; what was never a source, by none."""
    covered: Counter[Place] = Counter()
    known: set[str] = set()
    sent: dict[str, list[Place]] = {}
    for place in world.broker.said:
        if place[1] == shard:
            sent.setdefault(place[0], []).append(place)
    for block in world.accepted[shard]:
        known |= {span.topic_id for span in block.meta.sources}
        for row in _source_rows(block):
            last = (
                row["offset"] + world.broker.said[row["place"]].offsets - 1
                if row["place"] in world.broker.said
                else 0
            )
            if row["verdict"] != Verdict.DELETED_UNREAD and row["last_offset"] != last:
                raise Violation(f"a row speaks of other offsets than the record has: {row['place']}")
            covered.update(
                p for p in sent.get(row["place"][0], ()) if row["offset"] <= p[2] <= row["last_offset"]
            )
    expected = {place for topic_id in known for place in sent.get(topic_id, ())}
    if set(covered) != expected or set(covered.values()) - {1}:
        wrong = (set(covered) ^ expected) | {place for place, times in covered.items() if times > 1}
        raise Violation(f"not exactly one row: {sorted(wrong)[:3]}")


def _check_commands_first(world: World, shard: int) -> None:
    """What the platform had said before a worker placed the shard is decided in its turn: no record of an app
    with a later time comes before it."""
    behind: dict[Place, int] = {}  # commands that a block overtook, and the latest time that overtook it
    for block in world.accepted[shard]:
        rows = _record_rows(block)
        for row in rows:
            if behind.get(row["place"], 0) > world.broker.times_ms[row["place"]]:
                raise Violation(f"shard {shard}: the command {row['place']} was overtaken")
        commands_id, end = world.commands_known.get(block.hash, ("", 0))
        latest_ms = max((row["broker_ms"] for row in rows), default=0)
        due = world.commands_due[block.hash]
        for offset in range(due[1], end) if due[0] == commands_id else ():
            if (place := (commands_id, shard, offset)) in world.broker.said:
                behind[place] = max(behind.get(place, 0), latest_ms)


def _source_rows(block: Block) -> list[dict]:
    """The rows that belong to a source, each with its `place`."""
    names = ["verdict", "source", "offset", "last_offset", "broker_ms", "time_ms"]
    rows = [row for row in block.rows.select(names).to_pylist() if row["source"] >= 0]
    for row in rows:
        row["place"] = (block.meta.sources[row["source"]].topic_id, block.meta.shard, row["offset"])
    return rows


def _record_rows(block: Block) -> list[dict]:
    """Those of them that belong to a record."""
    return [row for row in _source_rows(block) if row["verdict"] != Verdict.DELETED_UNREAD]


def _compare_with_model(world: World, shard: int) -> ShardModel:
    """Every row of the ledger is the one that the model predicts, in order."""
    [commands] = world.accepted[shard][0].meta.sources
    model = ShardModel((commands.topic_id, 0))
    for block in world.accepted[shard][1:]:
        records = [
            Record(
                block.meta.sources[row["source"]].topic,
                row["place"][0],
                row["offset"],
                world.broker.said[row["place"]],
                row["time_ms"],
            )
            for row in _record_rows(block)
        ]
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
    projection = world.intake.owner[shard].projection
    if world.redis.head_hash(shard, projection) != world.heads[shard]:
        raise Violation(f"shard {shard}: Redis is not at the ledger's head")
    found = {uid: p.lots for uid, p in world.redis.all_persons(shard, projection).items() if p.lots}
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
    key = bytes.fromhex(GENESIS["dedupe_key"])
    platform = Platform("sim", world.shards, key, True, GENESIS["fair_rows_s"], traffic.rules())
    head, persons, members = Head(), {}, {}
    for block in world.accepted[shard]:
        if block.meta.seq:
            rows = _record_rows(block)
            for row in rows:
                row["costs"] = world.broker.said[row["place"]].rows
            check_fair_order(head, block, rows)
            cycle = _cycle_of(world, block)
            reading = read_records(cycle, platform.rules, platform.dedupe_key, head.format)
            seen = {m for day, ms in reading.members.lookups.items() for m in ms if m in members.get(day, ())}
            before = Snapshot(head.hash, persons, seen)
            again = decide(
                platform,
                head,
                cycle,
                reading,
                before.persons,
                before.seen,
                block.meta.published_to,
                block.meta.lags,
            )
            if again.hash != block.hash:
                raise Violation(f"shard {shard} block {block.meta.seq}: decided again, it is another")
        change = apply(block, head, persons, head.ledger_next)
        head, persons = change.head, persons | change.persons
        for day in change.retired_days:
            members.pop(day, None)
        for day, new in change.members.items():
            members.setdefault(day, set()).update(new)
        for projection in RELEASES:
            if world.redis.head_hash(shard, projection) == block.hash:  # the last one, or an earlier one
                _check_projection(world, shard, projection, persons, members)


def _check_projection(
    world: World, shard: int, projection: str, persons: dict[str, Person], members: dict[int, set[int]]
) -> None:
    """A release's projection is the fold up to its head."""
    kept = world.redis.state(shard, projection).members
    found = world.redis.all_persons(shard, projection)
    same_persons = _told(persons) == _told(found)
    wanted = turned(members) if projection == OTHER else members
    if not same_persons or {d: set(m) for d, m in wanted.items()} != {d: m for d, m in kept.items() if m}:
        raise Violation(f"shard {shard}: projection {projection} is not the fold of the ledger")


def _told(persons: dict[str, Person]) -> dict[str, Person]:
    """Those of whom there is anything to say."""
    return {uid: person for uid, person in persons.items() if person != Person()}


def _cycle_of(world: World, block: Block) -> Cycle:
    rows = _record_rows(block)
    names = ("source", "offset", "last_offset", "broker_ms", "time_ms")
    columns = [[row[name] for row in rows] for name in names]
    intents = [world.broker.said[row["place"]] for row in rows]
    # Why a batch cannot be read is a fact of the release that read it: it is taken from the ledger.
    details = block.rows.column("detail").to_pylist()[-len(rows) :]
    values = [
        Unreadable(*detail.split(": ")[1:]) if intent.kind == "unreadable" else intent.value
        for intent, detail in zip(intents, details, strict=True)
    ]
    spans = [span for span in block.meta.sources if span.next > span.first]
    return Cycle(block.meta.shard, spans, *columns, values)


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
            _count_waiting(world, block)
            for span in block.meta.sources:
                if span.day_rows >= world.operator.quotas.get(app_of(span.topic), span.day_rows + 1):
                    world.count("intake: a quota of rows used up")
            _count_settled(world, block)
            verdicts = block.rows.column("verdict").to_pylist()
            if int(Verdict.ALREADY_CLAIMED) in verdicts and int(Verdict.CREDITED) in verdicts:
                world.count("claim: won and lost in one cycle")


def _count_settled(world: World, block: Block) -> None:
    kind, verdict = (block.rows.column(name)[-1].as_py() for name in ("kind", "verdict"))
    intent = world.broker.said[_record_rows(block)[-1]["place"]]
    if intent.kind == "tampered":
        world.count("replay: of other bytes")
    elif intent.kind == "replay" and kind != Kind.REPLAY:
        world.count("replay: of an app that is not registered")
    elif kind == Kind.REPLAY:
        world.count(f"replay: {CODES[verdict]}")
    elif kind == Kind.DISMISS:
        world.count("dismissed")


def _count_waiting(world: World, block: Block) -> None:
    rows = _record_rows(block)
    if any(a["broker_ms"] > b["broker_ms"] and a["source"] != b["source"] for a, b in pairwise(rows)):
        world.count("fair: a record waits behind one that came later")
