"""What only the real table can show: its rows, tokens, window, checks and errors."""

import datetime as dt

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from schemas.block import RELEASE
from schemas.formats import COLUMNS
from schemas.kinds import Kind
from schemas.limits import OFFSET_MAX
from sinks.clickhouse.archive import ClickHouseArchive
from sinks.clickhouse.client import open_client
from sinks.clickhouse.errors import RETRIABLE, ArchiveDamaged, ArchiveUnavailable, is_retriable
from sinks.clickhouse.rows import insert_of, rows_of
from sinks.clickhouse.run import NOTHING, LedgerBlock, Run


def run_of(blocks, first: int, last: int) -> Run:
    return Run(blocks[0].meta.shard, tuple(LedgerBlock(b, b.meta.seq) for b in blocks[first : last + 1]))


def counts(sql, shard: int) -> tuple[int, int]:
    """Rows as they lie in the parts, and as `entries` shows them."""
    query = "SELECT count() FROM {table:Identifier} WHERE shard = {shard:UInt16}"
    return tuple(sql(query, table=table, shard=shard)[0][0] for table in ("ledger_rows", "entries"))


def test_a_row_carries_everything_that_the_block_says(chdb, sql, chains, shard):
    blocks = chains.chain(shard, [(2, 5)])
    refused = {
        "kind": [0],
        "verdict": [2],
        "bytes_size": [70_000],
        "bytes_hash": ["9f" * 16],
        "detail": ["uid: 缺少"],
    }
    blocks.append(chains.block_after(blocks[1], 1, 7, **refused))
    lots = [{"expiry_day": 20_000, "points_milli": -5}, {"expiry_day": 20_001, "points_milli": -6}]
    said = {"kind": [int(Kind.ADOPT)], "by": ["li"], "approved_by": ["wang"], "reason": ["磁盘坏了"]}
    said |= {"lots": [lots], "last_offset": [OFFSET_MAX], "tells_balance": [1], "certifiable": [1]}
    blocks.append(chains.block_after(blocks[2], 1, 7, **said))
    chdb.append(run_of(blocks, 0, 3), NOTHING)
    query = "SELECT * FROM entries WHERE shard = {shard:UInt16} ORDER BY seq, row"
    answer = chdb._call(lambda client: client.query(query, {"shard": shard}))
    genesis, first, second, refused, command = (
        dict(zip(answer.column_names, r, strict=True)) for r in answer.result_rows
    )
    renamed = {
        "broker_ms": "broker_time",
        "time_ms": "time",
        "occurred_ms": "occurred_at",
        "expiry_day": "expires_on",
    }
    assert {renamed.get(name, name) for name in COLUMNS} < set(first)
    assert (genesis["seq"], genesis["verdict"], genesis["app"], genesis["topic"]) == (0, "genesis", "", "")
    assert (first["row"], second["row"], second["offset"]) == (0, 1, 1001)
    assert (second["app"], second["topic"], second["verdict"]) == ("metro", "intake.metro", "credited")
    assert second["partition"] == shard
    assert (second["block_hash"], second["block_rows"], second["ledger_offset"]) == (
        blocks[1].hash.hex(),
        2,
        1,
    )
    assert second["rules"] == "1:abcdef"
    assert second["points_milli"] == 1001
    assert second["expires_on"] == dt.date(2024, 9, 7) + dt.timedelta(days=701)
    assert second["occurred_at"].isoformat() == "2024-09-07T07:59:00.005000+08:00"
    assert second["time"].replace(tzinfo=None) == dt.datetime(2024, 9, 7, 8, 0, 0, 5000)
    assert (second["kind"], second["topic_id"], second["release"]) == ("report", "m", RELEASE)
    assert (second["last_offset"], second["lots"], second["certifiable"]) == (1001, [], 0)
    assert (refused["kind"], refused["verdict"], refused["detail"]) == ("", "malformed", "uid: 缺少")
    assert (refused["bytes_size"], refused["bytes_hash"]) == (70_000, "9f" * 16)
    assert (command["by"], command["approved_by"], command["reason"]) == ("li", "wang", "磁盘坏了")
    assert (command["kind"], command["last_offset"]) == ("adopt", OFFSET_MAX)
    assert (command["tells_balance"], command["certifiable"]) == (1, 1)
    day = dt.date(1970, 1, 1) + dt.timedelta(days=20_000)
    assert [tuple(lot.values() if isinstance(lot, dict) else lot) for lot in command["lots"]] == [
        (day, -5), (day + dt.timedelta(days=1), -6),
    ]  # fmt: skip


def test_rows_are_built_from_slices_as_well(chains):
    block = chains.chain(0, [(4, 0)])[1]
    whole = rows_of(Run(0, (LedgerBlock(block, 1),)))
    assert whole.num_rows == 4
    assert whole.column("uid").equals(block.rows.column("uid"))
    assert set(COLUMNS) - {"broker_ms", "time_ms", "occurred_ms", "expiry_day"} < set(whole.schema.names)


def test_one_run_is_one_part_in_the_partition_of_its_month(chdb, sql, chains, shard):
    blocks = chains.chain(shard, [(40_000, 5), (16_384, 5)])
    sql("SYSTEM STOP MERGES ledger_rows")
    try:
        before = sql("SELECT count() FROM system.parts WHERE table = 'ledger_rows' AND active")[0][0]
        chdb.append(run_of(blocks, 0, 2), NOTHING)
        parts = sql(
            "SELECT rows, partition FROM system.parts WHERE table = 'ledger_rows' AND active"
            " ORDER BY min_block_number DESC"
        )
    finally:
        sql("SYSTEM START MERGES ledger_rows")
    assert len(parts) == before + 1
    assert parts[0] == (56_385, "202409")


def test_a_run_over_two_months_is_refused_as_a_whole(chdb, sql, chains, shard):
    blocks = chains.chain(shard, [(2, 30 * 86_400_000)])
    with pytest.raises(DatabaseError, match=r"TOO_MANY_PARTS|Too many partitions"):
        ClickHouseArchive._append(chdb, chdb._client, insert_of(run_of(blocks, 0, 1)), NOTHING)
    assert counts(sql, shard) == (0, 0)


def test_a_repeated_insert_leaves_no_second_copy(chdb, sql, chains, shard):
    blocks = chains.chain(shard, [(5, 10)] * 3)
    for _ in range(3):
        chdb.append(run_of(blocks, 0, 3), NOTHING)
    assert counts(sql, shard) == (16, 16)


def test_rows_outside_the_window_are_shown_and_counted_once(chdb, sql, chains, shard, new_shard):
    blocks = chains.chain(shard, [(5, 10)] * 3)
    sql("SYSTEM STOP MERGES ledger_rows")
    sql("ALTER TABLE ledger_rows MODIFY SETTING non_replicated_deduplication_window = 1")
    try:
        chdb.append(run_of(blocks, 0, 3), NOTHING)
        chdb.append(run_of(chains.chain(new_shard(), [(1, 0)]), 0, 1), NOTHING)
        chdb.append(run_of(blocks, 0, 3), NOTHING)
        assert counts(sql, shard) == (32, 16)
        assert chdb.high_water(shard) == run_of(blocks, 0, 3).end
        points = sum(1000 * seq + row for seq in (1, 2, 3) for row in range(5))
        assert sql(f"SELECT sum(points_milli) FROM lots WHERE shard = {shard}") == [(points,)]
        assert sql(f"SELECT sum(balance_milli) FROM balances WHERE shard = {shard}") == [(points,)]
    finally:
        sql("ALTER TABLE ledger_rows MODIFY SETTING non_replicated_deduplication_window = 10000")
        sql("SYSTEM START MERGES ledger_rows")


def test_a_single_removed_row_is_found(chdb, sql, chains, shard):
    chdb.append(run_of(chains.chain(shard, [(5, 0)] * 3), 0, 3), NOTHING)
    place = f"shard = {shard} AND seq = 2 AND row = 4"
    sql(f"ALTER TABLE ledger_rows DELETE WHERE {place} SETTINGS mutations_sync = 2")
    with pytest.raises(ArchiveDamaged, match="lacks rows of block 2") as damaged:
        chdb.high_water(shard)
    assert "writes it anew from the ledger" in damaged.value.todo


def test_what_was_archived_is_there_for_another_client(chdb, chdb_dsn, chains, shard):
    end = chdb.append(run_of(chains.chain(shard, [(5, 0)] * 3), 0, 3), NOTHING)
    again = ClickHouseArchive(chdb_dsn)
    assert again.high_water(shard) == end
    again.close()


def test_a_server_that_does_not_answer_is_unavailable():
    archive = ClickHouseArchive("clickhouse://user:secret@127.0.0.1:9/points")
    with pytest.raises(ArchiveUnavailable) as unavailable:
        archive.high_water(0)
    assert "secret" not in str(unavailable.value)


def test_only_listed_codes_are_retried(chdb, sql):
    for code, name in RETRIABLE.items():
        assert sql(f"SELECT errorCodeToName({code})") == [(name,)]
        assert is_retriable(DatabaseError(name, code=code))
    for code in (60, 62, 516, 164):
        assert not is_retriable(DatabaseError("fatal", code=code))
        assert not is_retriable(OperationalError("fatal", code=code))
    assert is_retriable(OSError(28, "No space left on device"))
    assert is_retriable(OperationalError("connection refused"))
    assert not is_retriable(ValueError("a bug"))


def test_a_second_folder_in_one_process_names_the_way_out(chdb, sql, tmp_path):
    with pytest.raises(ArchiveDamaged) as damaged:
        open_client(f"chdb://{tmp_path}")
    assert "belongs to one process" in damaged.value.todo
