"""What analysts rely on: one zone, people who were recorded, groups of verdicts, comments, valid text."""

import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet
import pytest

from schemas.verdicts import TABLE, Verdict
from sinks.clickhouse.client import chdb_folder
from sinks.clickhouse.nameable import OPERATOR, PERSONS, TABLES
from sinks.clickhouse.read_only import Question, ReadOnlyArchive
from sinks.clickhouse.run import NOTHING, LedgerBlock, Run
from sinks.clickhouse.views import group_of

LATE_MS = 1_725_724_799_000  # 2024-09-07 23:59:59 in Shanghai, 15:59:59 UTC


@pytest.fixture
def archived(chdb, chains, shard) -> str:
    """Three records at the end of a Shanghai day, the last one refused: a condition."""
    blocks = chains.chain(shard, [])
    verdicts = [Verdict.CREDITED, Verdict.CAP_REACHED, Verdict.TOO_LATE]
    later_ms = LATE_MS - blocks[0].meta.time_ms
    blocks.append(
        chains.block_after(
            blocks[0],
            3,
            later_ms,
            verdict=list(map(int, verdicts)),
            uid=[f"{n:032x}" for n in (1, 2, 3)],
            points_milli=[1000, 0, 0],
            reduction_mg=[5000, 7000, 0],
            id_member=[9_007_199_254_740_993] * 3,
        )
    )
    chdb.append(Run(shard, tuple(LedgerBlock(b, b.meta.seq) for b in blocks)), NOTHING)
    return f"shard = {shard}"


@pytest.fixture
def reader(chdb_dsn) -> Iterator[ReadOnlyArchive]:
    reader = ReadOnlyArchive(chdb_folder(chdb_dsn))
    yield reader
    reader.close()


def test_all_times_of_a_row_are_in_the_platforms_zone_and_so_is_today(archived, reader):
    where = f"WHERE {archived} AND app != '' LIMIT 1"
    sql = f"SELECT time, broker_time, block_time, occurred_at FROM entries {where}"
    row = reader.answer(Question(sql, PERSONS, "CSV")).body.decode().strip()
    assert row == ",".join(['"2024-09-07 23:59:59.000"'] * 3 + ['"2024-09-07 23:58:59.000"'])
    now = "SELECT today() = toDate(now('Asia/Shanghai')), timezone()"
    assert reader.answer(Question(now, PERSONS)).body == b"1\tAsia/Shanghai\n"
    types = reader.answer(Question(f"{sql} FORMAT JSONCompact", PERSONS)).body
    assert {c["type"] for c in json.loads(types)["meta"]} == {"DateTime64(3, 'Asia/Shanghai')"}


RECORDED = "verdict IN ('credited', 'cap_reached', 'credited_in_part', 'recorded_only')"


def test_people_are_those_for_whom_something_was_recorded(sql, archived):
    [(people,)] = sql("SELECT people FROM app_per_day WHERE app = 'metro' AND day = '2024-09-07'")
    where = "WHERE app = 'metro' AND toDate(time) = '2024-09-07'"
    assert sql(f"SELECT uniqExactIf(uid, {RECORDED}) FROM entries {where}") == [(people,)]
    at = "hour = toDateTime('2024-09-07 23:00:00', 'Asia/Shanghai')"
    [(hour, in_hour)] = sql(f"SELECT toString(hour), people FROM app_per_hour WHERE app = 'metro' AND {at}")
    assert in_hour == 2, "the refused person is not counted"
    assert hour == "2024-09-07 23:00:00"
    totals = "count(), sum(e.reduction_mg)"
    expected = sql(f"SELECT {totals} FROM entries AS e WHERE app = 'metro' AND {RECORDED}")
    per_day = "SELECT sum(behaviours), sum(m.reduction_mg) FROM methodology_per_day AS m"
    assert sql(f"{per_day} WHERE app = 'metro'") == expected


def test_the_view_of_verdicts_is_made_of_the_code(sql, chdb):
    chdb.high_water(0)
    rows = sql("SELECT code, group, meaning FROM verdicts")
    assert rows == [(v.code, group_of(v, m), m.meaning) for v, m in TABLE.items()]
    groups = {code: group for code, group, _ in rows}
    assert groups["cap_reached"] == "recorded"
    assert groups["duplicate"] == groups["already_claimed"] == "repeated"
    assert groups["malformed"] == groups["no_consent" if "no_consent" in groups else "too_late"] == "refused"
    assert groups["expired"] == groups["genesis"] == groups["command_applied"] == "platform"


def test_every_column_of_a_view_has_a_comment(sql, chdb):
    chdb.high_water(0)
    columns = sql("SELECT table, name, comment FROM system.columns WHERE database = 'points'")
    assert not [(t, n) for t, n, comment in columns if t in TABLES[PERSONS] and not comment]
    assert ("entries", "uid", "pseudonymous id of the person") in columns


def test_64_bit_integers_are_texts_in_json_and_block_hashes_hex(archived, reader):
    sql = f"SELECT id_member, block_hash FROM entries WHERE {archived} AND app != '' LIMIT 1"
    row = json.loads(reader.answer(Question(sql, PERSONS, "JSONEachRow")).body)
    assert row["id_member"] == "9007199254740993"
    assert len(bytes.fromhex(row["block_hash"])) == 32


def test_parquet_of_all_views_is_readable_and_holds_valid_text(archived, reader):
    for view in TABLES[PERSONS]:
        sql = f"SELECT * FROM {view} LIMIT 1000 FORMAT Parquet"
        table = pa.parquet.read_table(pa.BufferReader(reader.answer(Question(sql, OPERATOR)).body))
        table.validate(full=True)
