"""The first block of each shard: what holds for the life of the platform."""

import secrets
import time
from collections.abc import Mapping

from schemas.block import Span, genesis_block, open_block
from schemas.limits import FAIR_ROWS_S
from schemas.topics import COMMANDS
from sinks.ports import Doubt, Ledger, Store
from stream.errors import OperatorError


async def write_genesis(
    ledger: Ledger,
    store: Store,
    platform: str,
    shards: int,
    simulated_clock: bool,
    commands_id: str,
    begun: bool = False,
) -> None:
    """Writes the genesis block of every shard whose ledger is empty because nothing was ever in it.

    `commands_id`: the id of topic `commands`. From the last shard to the first, so that shard 0 has its block
    if and only if the set-up came to its end; `begun` says that somebody remembers that it did. Raises
    OperatorError where a ledger is empty that was not: a new first block would make a loss look like a
    beginning, and decide again what apps were told.
    """
    ends = {shard: await ledger.end(shard) for shard in range(shards)}
    empty = [shard for shard, end in ends.items() if end == 0]
    seen = {s: head.ledger_next for s in empty if (head := await store.load_head(s)) and head.ledger_next}
    if empty and (knows_better := witness(ends, seen, begun)):
        raise OperatorError(
            f"Topic ledger has nothing of shard {', '.join(map(str, empty))}, but {knows_better}: it lost"
            " its records.",
            "put it back from a replica or a copy; see docs/runbook.md, ledger emptied.",
        )
    key = await dedupe_key(ledger, ends) or secrets.token_hex(16)
    for shard in reversed(empty):
        genesis = {
            "shards": shards,
            "dedupe_key": key,
            "simulated_clock": simulated_clock,
            "fair_rows_s": FAIR_ROWS_S,
        }
        source = Span(COMMANDS, commands_id, 0, 0)
        block = genesis_block(platform, shard, genesis, time.time_ns() // 1_000_000, [source])
        if await ledger.append(block) != 0:
            raise Doubt(f"shard {shard}: somebody else wrote the first block; run this again")


def witness(ends: Mapping[int, int], seen: Mapping[int, int], begun: bool) -> str | None:
    """Who knows that an empty ledger was not always empty, in words; None if nobody does.

    `ends`: where the ledger of each shard ends; `seen`: what Redis has applied of the empty ones.
    """
    if begun:
        return "stack.json remembers that all shards had their first block"
    if seen:
        shard, records = next(iter(seen.items()))
        return f"Redis has seen {records} records of shard {shard}"
    if ends[0]:
        return "shard 0, which is written last, has its first block"
    if decided := [shard for shard, end in ends.items() if end > 1]:
        return f"shard {decided[0]} has {ends[decided[0]]} records"
    return None


async def dedupe_key(ledger: Ledger, ends: Mapping[int, int]) -> str | None:
    """The key was drawn once: shards written later, after an interruption, take over the others'.

    `ends`: where the ledger of each shard ends.
    """
    for shard, end in ends.items():
        if end:
            async for _, record in ledger.read(shard, 0, 1):
                return (open_block(record).meta.genesis or {})["dedupe_key"]
    return None
