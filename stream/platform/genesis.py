"""The first block of each shard: what holds for the life of the platform."""

import secrets
import time

from schemas.block import Span, genesis_block, open_block
from schemas.limits import FAIR_ROWS_S
from schemas.topics import COMMANDS
from sinks.ports import Doubt, Ledger


async def write_genesis(
    ledger: Ledger, platform: str, shards: int, simulated_clock: bool, commands_id: str
) -> None:
    """Writes the genesis block of every shard whose ledger is empty; a second one is ignored by every reader.

    `commands_id`: the id of topic `commands`. The dedupe key is drawn once: shards written later, after an
    interruption, take over the first shard's.
    """
    key = await _dedupe_key(ledger) or secrets.token_hex(16)
    for shard in range(shards):
        if await ledger.end(shard) == 0:
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


async def _dedupe_key(ledger: Ledger) -> str | None:
    if await ledger.end(0):
        async for _, record in ledger.read(0, 0, 1):
            return open_block(record).meta.genesis["dedupe_key"]
    return None
