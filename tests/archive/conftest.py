"""Chains of blocks, and the one chDB folder that a process can have; tests take a fresh shard each."""

import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from schemas.block import Block, Meta, Span, genesis_block, make_block
from schemas.formats import NEWEST, empty_columns
from schemas.kinds import Kind
from schemas.ledger_record import headers_of
from schemas.report import shanghai_day
from schemas.verdicts import Verdict
from sinks.clickhouse.archive import ClickHouseArchive
from stream.engine import archive as archive_module
from stream.engine import archive_run

START_MS = 1_725_667_200_000  # 2024-09-07 00:00 UTC
_shards = itertools.count(1)


class Chains:
    """Makes blocks whose rows credit a few persons; every number follows from shard, seq and row."""

    @staticmethod
    def genesis(shard: int, time_ms: int = START_MS) -> Block:
        return genesis_block("test", shard, {"shards": 1}, time_ms)

    @staticmethod
    def block_after(block: Block, rows: int, later_ms: int = 0, salt: str = "", **columns: list) -> Block:
        seq, time_ms = block.meta.seq + 1, block.meta.time_ms + later_ms
        sources = [Span("intake.bus", "b", 0, 0), Span("intake.metro", "m", seq * 1000, seq * 1000 + rows)]
        filled = empty_columns(rows)
        filled |= {
            "kind": [int(Kind.REPORT)] * rows,
            "verdict": [int(Verdict.CREDITED)] * rows,
            "source": [1] * rows,
            "offset": [seq * 1000 + row for row in range(rows)],
            "last_offset": [seq * 1000 + row for row in range(rows)],
            "broker_ms": [time_ms] * rows,
            "time_ms": [time_ms] * rows,
            "uid": [f"{(seq + row) % 7:032x}" for row in range(rows)],
            "report_id": [f"20240907-{salt}{seq}-{row}" for row in range(rows)],
            "methodology": ["SZ-METRO"] * rows,
            "occurred_ms": [time_ms - 60_000] * rows,
            "unit": ["distance_m"] * rows,
            "points_milli": [1000 * seq + row for row in range(rows)],
            "expiry_day": [shanghai_day(START_MS) + 700 + seq % 3] * rows,
        }
        meta = Meta("test", block.meta.shard, seq, sources, time_ms, 0, 0, "1:abcdef")
        return make_block(block.hash, meta, filled | columns, NEWEST)

    def chain(self, shard: int, shapes: list[tuple[int, int]]) -> list[Block]:
        """Genesis, then one block for each (rows, milliseconds later)."""
        blocks = [self.genesis(shard)]
        for rows, later_ms in shapes:
            blocks.append(self.block_after(blocks[-1], rows, later_ms))
        return blocks

    @staticmethod
    def records(blocks: list[Block], first: int = 0) -> list[SimpleNamespace]:
        """The blocks as a consumer delivers them, at successive ledger offsets."""
        return [
            SimpleNamespace(
                offset=first + i,
                value=block.value,
                headers=tuple(headers_of(block.record)),
                timestamp=0,
                key=None,
            )
            for i, block in enumerate(blocks)
        ]


@pytest.fixture(scope="session")
def chains() -> Chains:
    return Chains()


@pytest.fixture
def shard() -> int:
    """A shard that no other test uses."""
    return next(_shards)


@pytest.fixture
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a few rows, written at once."""
    monkeypatch.setattr(archive_run, "ARCHIVE_RUN_ROWS_MIN", 20)
    monkeypatch.setattr(archive_module, "IDLE_S", 0.02)
    monkeypatch.setattr(archive_module, "RETRY_DELAYS_S", (0.001,))


@pytest.fixture
def ledger(chains: Chains, shard: int) -> list:
    """19 blocks of a shard as Kafka delivers them."""
    shapes = [(7, 900), (9, 0), (8, 100), (3, 4_500), (25, 10), (5, 30 * 86_400_000), (6, 0), (30, 1), (2, 0)]
    return chains.records(chains.chain(shard, shapes * 2))


@pytest.fixture(scope="session")
def new_shard() -> Callable[[], int]:
    """For tests that need many."""
    return lambda: next(_shards)


@pytest.fixture(scope="session")
def chdb_dsn(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"chdb://{tmp_path_factory.mktemp('archive') / 'click house'}".replace(" ", "%20")


@pytest.fixture(scope="session")
def chdb(chdb_dsn: str) -> Iterator[ClickHouseArchive]:
    archive = ClickHouseArchive(chdb_dsn)
    yield archive
    archive.close()


@pytest.fixture(scope="session")
def sql(chdb: ClickHouseArchive) -> Callable[..., list[tuple]]:
    """Runs SQL on the archive's own client, writing included."""
    chdb.high_water(0)

    def run(query: str, **parameters: object) -> list[tuple]:
        if query.split()[0].upper() in ("SELECT", "WITH"):
            return chdb._call(lambda client: list(client.query(query, parameters).result_rows))
        return chdb._call(lambda client: client.command(query, parameters))

    return run
