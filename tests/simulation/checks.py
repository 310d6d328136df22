"""What must hold after a run: the ledger against the model, everything else against the ledger."""

from collections import Counter
from itertools import pairwise
from typing import Any

from schemas.block import Block
from schemas.kinds import Kind
from schemas.limits import LATE_WINDOW_DAYS
from schemas.report import date_of_day, day_of_date, shanghai_day
from schemas.topics import COMMANDS, app_of
from schemas.verdicts import CODES, Verdict
from stream.batches.reader import Unreadable
from stream.core.cycle_input import Cycle
from tests.making import remember
from tests.simulation import traffic
from tests.simulation.fair import check_fair_order
from tests.simulation.kafka import Place
from tests.simulation.model import Answer, Record, ShardModel
from tests.simulation.operator import GENESIS
from tests.simulation.projections import OTHER, turned
from tests.simulation.services import Violation
from tests.simulation.upgraded import check_formats, read_by, same_but_for_who
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
        check_formats(world, shard)
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
        for record, got in zip(records, found[len(found) - len(records) :], strict=True):
            if record.intent.kind in ("pause", "names pause"):
                world.count(f"release: {record.intent.kind}: {got.verdict}")
    return model


def _answer(verdict: int, uid: str, reduction: int, points: int, day: int, balance: int) -> Answer:
    return Answer(CODES[verdict], uid, reduction, points, date_of_day(day) if day else None, balance)


def _compare_store(world: World, shard: int, model: ShardModel) -> None:
    """Redis holds what the model holds, and the ledger's head."""
    in_use = world.upgrade.in_use(shard)
    if world.redis.head_hash(shard, in_use) != world.heads[shard]:
        raise Violation(f"shard {shard}: Redis is not at the ledger's head")
    found = {uid: p.lots for uid, p in world.redis.all_persons(shard, in_use).items() if p.lots}
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
    newest = world.upgrade.newest
    head, persons, members = newest["schemas.state"].Head(), {}, {}
    stored = world.redis.others(shard, "")  # each projection is the fold up to its own head
    for written in world.accepted[shard]:
        block = read_by(newest, written)
        if block.meta.seq:
            rows = _record_rows(block)
            for row in rows:
                row["costs"] = world.broker.said[row["place"]].rows
            check_fair_order(head, block, rows)
            _decide_again(world, head, written, persons, members)
        change = newest["stream.core.apply"].apply(block, head, persons, head.ledger_next)
        head, persons = change.head, persons | change.persons
        remember(members, change)
        for projection in [name for name, at in stored.items() if at == head.hash]:
            del stored[projection]
            kept = world.redis.state(shard, projection).members
            wanted = turned(members) if projection == OTHER else members
            same_persons = _figures(persons) == _figures(world.redis.all_persons(shard, projection))
            if not same_persons or _by_day(wanted) != _by_day(kept):
                raise Violation(f"shard {shard}: projection {projection} is not the fold of the ledger")
    if stored:
        raise Violation(f"shard {shard}: a head in Redis is not on the ledger's chain")


def _by_day(members: dict[int, Any]) -> dict[int, set[int]]:
    return {day: set(of_day) for day, of_day in members.items() if of_day}


def _figures(persons: dict[str, Any]) -> dict[str, tuple]:
    """What is known of each person of whom anything is, whichever release's object holds it."""
    return {u: (p.lots, p.used_caps) for u, p in persons.items() if p.lots or p.used_caps}


def _decide_again(world: World, head: Any, block: Any, persons: dict, members: dict) -> None:
    """By the release that decided it, and by any other that writes its format: the same."""
    for release in world.upgrade.releases:
        is_writer = release.name == block.meta.release
        if not is_writer and block.format != 1:
            continue
        key = bytes.fromhex(GENESIS["dedupe_key"])
        genesis = ("sim", world.shards, key, True, GENESIS["fair_rows_s"])
        platform = release["stream.core.platform"].Platform(*genesis, traffic.rules())
        known, cycle = release.head(head), _cycle_of(world, block)
        reading = release["stream.core.read"].read_records(cycle, platform.rules, key, known.format)
        seen = {m for day, ms in reading.members.lookups.items() for m in ms if m in members.get(day, ())}
        told = block.meta.published_to, block.meta.lags
        again = release["stream.core.decide"].decide(platform, known, cycle, reading, persons, seen, *told)
        if not (again.hash == block.hash if is_writer else same_but_for_who(again, block)):
            where = f"shard {block.meta.shard} block {block.meta.seq}"
            raise Violation(f"{where}: decided again by release {release.name}, it is another")


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
