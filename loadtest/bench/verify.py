"""Whether the ledger, Redis and the archive hold the totals that the load must lead to."""

import json
from collections import Counter

import numpy as np

from loadtest.bench.reports import Totals
from schemas.block import open_block
from schemas.state import ZERO_HASH
from schemas.verdicts import CODES, Verdict
from sinks.kafka_ledger import KafkaLedger
from stream.operate.projection import open_projection
from stream.operate.sql import Endpoint, ask, endpoint_of
from stream.settings import Settings

_ARCHIVED = """
SELECT verdict, count(), sum(reduction_mg), sum(points_milli) FROM entries
WHERE verdict NOT IN ('genesis', 'command_applied')
GROUP BY verdict
"""
Sums = tuple[dict[str, int], int, int]  # records by verdict, reduction_mg, points_milli


async def differences(settings: Settings, expected: Totals) -> list[str]:
    """What any part says otherwise, one sentence each; empty if all is as it must be."""
    wanted = _sums_of(expected)
    ledger = await _ledger_sums(settings)
    found = [f"the ledger has {ledger}, but must have {wanted}"] if ledger != wanted else []
    found += archive_differences(endpoint_of(settings), expected)
    balances = await _balances(settings)
    wrong = [
        uid
        for uid in expected.balances_milli.keys() | balances.keys()
        if balances.get(uid, 0) != expected.balances_milli.get(uid, 0)
    ]
    if wrong:
        uid = min(wrong)
        found.append(
            f"Redis has {len(wrong):,} wrong balances: {uid} has {balances.get(uid, 0)}/1000 points, but "
            f"must have {expected.balances_milli.get(uid, 0)}/1000"
        )
    return found


def archive_differences(endpoint: Endpoint, expected: Totals) -> list[str]:
    """What the archive says otherwise, in a sentence; empty if it has the totals."""
    sums, wanted = _archive_sums(endpoint), _sums_of(expected)
    return [f"the archive has {sums}, but must have {wanted}"] if sums != wanted else []


def _sums_of(expected: Totals) -> Sums:
    verdicts = {verdict: n for verdict, n in expected.verdicts.items() if n}
    return verdicts, expected.reduction_mg, expected.points_milli


async def _ledger_sums(settings: Settings) -> Sums:
    ledger = KafkaLedger(settings.kafka_client("admin"))
    codes = np.zeros(256, np.int64)
    reduction_mg = points_milli = 0
    for shard in range(settings.shards):
        head = ZERO_HASH
        async for _, record in ledger.read(shard, 0, await ledger.end(shard)):
            if not record.follows(head):
                continue  # of a worker that had lost its shard: no reader accepts it
            head, rows = record.hash, open_block(record).rows
            codes += np.bincount(rows.column("verdict"), minlength=256)
            reduction_mg += rows.column("reduction_mg").sum().as_py()
            points_milli += rows.column("points_milli").sum().as_py()
    codes[[Verdict.GENESIS, Verdict.COMMAND_APPLIED]] = 0  # rows of the platform, not of the load
    return (
        {CODES[code]: int(codes[code]) for code in np.flatnonzero(codes).tolist()},
        reduction_mg,
        points_milli,
    )


def _archive_sums(endpoint: Endpoint) -> Sums:
    body, _ = ask(endpoint, _ARCHIVED, "JSONCompact")
    totals: Counter[str] = Counter()
    verdicts: dict[str, int] = {}
    for verdict, records, reduction_mg, points_milli in json.loads(body)["data"]:
        verdicts[verdict] = int(records)
        totals["reduction_mg"] += int(reduction_mg)
        totals["points_milli"] += int(points_milli)
    return verdicts, totals["reduction_mg"], totals["points_milli"]


async def _balances(settings: Settings) -> dict[str, int]:
    async with open_projection(settings) as store:
        persons = [await store.persons(shard) for shard in range(settings.shards)]
    return {uid: person.balance_milli() for part in persons for uid, person in part.items()}
