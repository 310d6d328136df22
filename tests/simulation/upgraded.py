"""What must hold of a ledger that two releases wrote."""

from itertools import pairwise
from typing import Any

import msgspec

from schemas.kinds import Kind
from schemas.verdicts import Verdict
from tests.releases.release import PRESENT, Release
from tests.simulation.services import Violation
from tests.simulation.upgrade import FORMAT

_READ = ("kind", "verdict", "inputs", "broker_ms", "occurred_ms")


def check_formats(world: Any, shard: int) -> None:
    """Raises `Violation` where a block is not in the format that a command has put in force before it, or was
    written by a release that does not know it. Counts what was met."""
    in_force = 1
    for block in world.accepted[shard]:
        writer = world.upgrade.named(block.meta.release)
        where = f"shard {shard} block {block.meta.seq} of release {writer.name}"
        if block.format != in_force:
            raise Violation(f"{where} has format {block.format}, in force is {in_force}")
        last = {name: block.rows.column(name)[-1].as_py() for name in _READ}
        if last["kind"] == Kind.FORMAT and last["verdict"] == Verdict.COMMAND_APPLIED:
            number = msgspec.json.decode(last["inputs"])["number"]
            world.count(f"release: a format {'begins' if number > in_force else 'is said again'}")
            in_force = number
        elif last["kind"] == Kind.FORMAT:
            world.count("release: a format from before is refused")
        if max(in_force, block.format) > writer["schemas.formats"].NEWEST:
            raise Violation(f"{where} puts a format in force that its release does not know")
    for before, after in pairwise(block.meta.release for block in world.accepted[shard]):
        if before != after:
            way = "back" if after == PRESENT.name else "forward"
            world.count(f"release: rolled {way} between two blocks")


def read_by(release: Release, block: Any) -> Any:
    """A block as a release reads it, whoever wrote it."""
    record = release["schemas.ledger_record"].LedgerRecord(
        block.prev, block.hash, block.value, block.meta.release
    )
    found = release["schemas.block"].open_block(record)
    if found.rows.schema.names != list(release["schemas.formats"].COLUMNS):
        raise Violation(
            f"release {release.name} reads block {block.meta.seq} with other columns than its own"
        )
    if release["schemas.formats"].NEWEST == FORMAT:
        broker, occurred, late = (found.rows.column(name).to_pylist() for name in (*_READ[-2:], "late_s"))
        if late != [(b - o) // 1_000 if o else 0 for b, o in zip(broker, occurred, strict=True)]:
            raise Violation(f"block {block.meta.seq}: what format {FORMAT} has is not worked out")
    return found


def same_but_for_who(one: Any, other: Any) -> bool:
    """Whether two releases' blocks of one cycle say the same, in the format from before both."""
    names = list(PRESENT["schemas.formats"].COLUMNS)
    said = [msgspec.to_builtins(block.meta) | {"release": ""} for block in (one, other)]
    rows = [block.rows.select(names).to_pylist() for block in (one, other)]
    return said[0] == said[1] and rows[0] == rows[1]
