"""Projections of several releases, side by side: one is built ahead of its workers, others are dropped.

Building is a recovery's fold, with its commits; but nothing is published, and nothing is taken from anybody:
the keys carry this release's fingerprint, and each commit stands on the head that was read. Broken off
anywhere it goes on from its head. Where workers of this very release run, both fold the same blocks; who is
second at a head is in doubt, and reads again.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import structlog

from schemas.state import Head
from sinks.ports import Doubt, Ledger, Store
from stream.core.apply_all import Step
from stream.engine.recovery import Expected, begin, fold, refuse_newer, told_to_operator
from stream.errors import OperatorError

log = structlog.get_logger()
RETRY_DELAYS_S = (0.2, 1.0, 2.0, 5.0, 5.0)


async def build(
    shard: int, expected: Expected, store: Store, ledger: Ledger, taken: Callable[[int, Head, Step], None]
) -> Head:
    """Folds a shard up to the ledger's end, which others may move meanwhile: until what is left is one step.

    `taken` is told of each step. Raises OperatorError where it cannot go on, also after doubts in a row.
    """
    failures = 0
    while True:
        try:
            with told_to_operator(shard):
                _, head, end = await begin(shard, expected, store, ledger)
                steps = 0
                async for moved, step in fold(shard, head, end, store, ledger):
                    head, steps, failures = moved, steps + 1, 0
                    taken(shard, head, step)
                refuse_newer(shard, head)
        except Doubt as doubt:
            if failures == len(RETRY_DELAYS_S):
                raise OperatorError(
                    f"Shard {shard}: {doubt}.",
                    "see `points status`, then give the same command again: it goes on where it stopped.",
                ) from doubt
            log.warning("trying again", shard=shard, why=str(doubt))
            await asyncio.sleep(RETRY_DELAYS_S[failures])
            failures += 1
        else:
            if steps <= 1:
                return head


class Worker(NamedTuple):
    """An intake worker of the group; `projection` is '' where it does not tell its own."""

    host: str
    projection: str


async def drop_others(
    own: str,
    found: set[str],
    workers: list[Worker],
    store_of: Callable[[str], Store],
    shards: int,
    dropped: Callable[[str, int, int], None],
) -> None:
    """Forgets all projections that were `found` but this release's `own`, which must be there in every shard.

    `workers`: the group's, as it is now. `dropped` is told of each shard: projection, shard, how many keys.
    Raises OperatorError where one is in use: also where a worker that nobody knew of begins to make it again.
    """
    if others := [worker for worker in workers if worker.projection != own]:
        told = ", ".join(f"{worker.projection or 'unknown'} on {worker.host}" for worker in others)
        raise OperatorError(
            f"Workers of another release run, with projection {told}.",
            "end them, or let them be the last: `points status` shows those of this machine.",
        )
    missing = [shard for shard in range(shards) if await store_of(own).load_head(shard) is None]
    if missing:
        raise OperatorError(
            f"The projection of this release, {own}, is not there in shards {', '.join(map(str, missing))}.",
            "run `points rebuild redis` first.",
        )
    for name in sorted(found - {own}):
        for shard in range(shards):
            try:
                dropped(name, shard, await store_of(name).reset(shard))
            except Doubt as doubt:
                raise OperatorError(
                    f"Projection {name}, shard {shard}: {doubt}.",
                    "somebody uses it, or Redis does not answer: end the workers of that release, see `points"
                    " status`, and give the same command again: it goes on where it stopped.",
                ) from doubt
