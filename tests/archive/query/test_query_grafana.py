"""Grafana's ClickHouse data sources, as they ask over HTTP; their macros are expanded as they do it.

The one by Grafana Labs is clickhouse-go: format Native for a client of version 54460, gzip, its deadline as
`max_execution_time`. Here clickhouse-driver reads the blocks, as it reads those of ClickHouse's own protocol.
"""

import datetime as dt
import gzip
import io
import json
from types import SimpleNamespace

import pytest
from clickhouse_driver.bufferedreader import BufferedSocketReader
from clickhouse_driver.streams.native import BlockInputStream

REVISION = 54460
START_S, HOUR_S = 1_725_667_200, 3600  # the archive's first block: 2024-09-07 00:00 UTC


def columns_and_rows(body: bytes) -> tuple[list[tuple[str, str]], list[tuple]]:
    """Names with types, and rows, of Native blocks as of `REVISION`; raises EOFError if they are cut off."""
    settings = {"use_numpy": False, "strings_as_bytes": False, "strings_encoding": "utf-8"}
    server = SimpleNamespace(used_revision=REVISION, get_timezone=lambda: "UTC")
    context = SimpleNamespace(server_info=server, client_settings=settings, settings={})
    pipe = io.BytesIO(body)
    source = BufferedSocketReader(SimpleNamespace(recv_into=pipe.readinto), 65_536)
    columns, rows = [], []
    while source.position < source.current_buffer_size or pipe.tell() < len(body):
        block = BlockInputStream(source, context).read()
        columns = block.columns_with_types
        rows += zip(*block.data, strict=True)
    return columns, rows


@pytest.fixture
def grafana(ask):
    """One query, the way clickhouse-go sends it for the data source."""

    def query(sql: str, **url: str) -> tuple[list[tuple[str, str]], list[tuple]]:
        reply = ask(
            sql,
            {"Accept-Encoding": "gzip", "User-Agent": "grafana/12.1.0 clickhouse-go/2.50.0"},
            default_format="Native",
            client_protocol_version=REVISION,
            max_execution_time=65,
            **url,
        )
        assert reply.status == 200, reply.body
        assert reply.headers["X-ClickHouse-Format"] == "Native"
        body = gzip.decompress(reply.body) if reply.headers["Content-Encoding"] == "gzip" else reply.body
        return columns_and_rows(body)

    return query


def test_the_data_source_connects_and_looks_round(grafana, endpoint):
    columns, [(name, version, revision, zone)] = grafana(
        "SELECT displayName(), version(), revision(), timezone()"
    )
    assert [type_name for _, type_name in columns] == ["String", "String", "UInt32", "String"]
    assert all((name, version, zone))
    assert revision >= REVISION
    assert grafana("SELECT 1") == ([("1", "UInt8")], [(1,)])
    named = "Tuple(a UInt8, b String)"
    assert grafana(f"SELECT (1, 'x')::{named} AS t") == ([("t", named)], [((1, "x"),)])
    assert (endpoint.database,) in grafana("SHOW DATABASES")[1]
    assert ("entries",) in grafana(f'SHOW TABLES FROM "{endpoint.database}"')[1]
    described = grafana(f'DESC TABLE "{endpoint.database}"."entries"')[1]
    assert ("uid", "String") in {row[:2] for row in described}
    listed = grafana(f"SELECT name, type, table FROM system.columns WHERE database = '{endpoint.database}'")[
        1
    ]
    assert ("uid", "String", "entries") in listed


def macros(sql: str, start_s: int, end_s: int, interval_s: int) -> str:
    """$__timeFilter(time), $__timeInterval(time) and their like, as the data source expands them."""
    within = f"time >= toDateTime({start_s}) AND time <= toDateTime({end_s})"
    return (
        sql.replace("$__timeFilter(time)", within)
        .replace(
            "$__timeInterval(time)", f"toStartOfInterval(toDateTime(time), INTERVAL {interval_s} second)"
        )
        .replace("$__fromTime", f"toDateTime({start_s})")
        .replace("$__toTime", f"toDateTime({end_s})")
    )


def test_a_time_series_panel(grafana, rows):
    sql = """SELECT $__timeInterval(time) AS time, verdict, count() AS records,
            sum(points_milli) / 1000 AS points
        FROM entries WHERE $__timeFilter(time) AND shard = {shard:UInt16}
        GROUP BY time, verdict ORDER BY time"""
    expanded = macros(sql, START_S - HOUR_S, START_S + 6 * HOUR_S, HOUR_S)
    columns, series = grafana(expanded, param_shard=str(rows.shard))
    names = ["time", "verdict", "records", "points"]
    types = ["DateTime('Asia/Shanghai')", "LowCardinality(String)", "UInt64", "Float64"]
    assert columns == list(zip(names, types, strict=True))
    start = dt.datetime.fromtimestamp(START_S, dt.UTC)
    hours = [start, start + dt.timedelta(hours=1), start + dt.timedelta(hours=2)]
    points = [0, sum(range(1000, 1050)) / 1000, sum(range(2000, 2050)) / 1000]
    assert series == [
        (hours[0], "genesis", 1, points[0]),
        (hours[1], "credited", 50, points[1]),
        (hours[2], "credited", 50, points[2]),
    ]


def test_a_panel_without_data_and_one_with_many_blocks(grafana):
    sql = macros("SELECT time, uid FROM entries WHERE $__timeFilter(time)", 1, 2, 60)
    assert grafana(sql)[1] == []
    _, table = grafana("SELECT number, toString(number), [number] FROM numbers(200000)")
    assert table == [(n, str(n), [n]) for n in range(200_000)]


def test_the_data_source_of_altinity(ask, endpoint, rows):
    """It sends its login in headers, the SQL in the URL, and reads FORMAT JSON."""
    login = {"X-ClickHouse-User": endpoint.user, "X-ClickHouse-Key": endpoint.password}
    sql = f"""SELECT (intDiv(toUInt32(time), 3600) * 3600) * 1000 AS t, count()
        FROM {endpoint.database}.entries
        WHERE time >= toDateTime({START_S}) AND time <= toDateTime({START_S + 6 * HOUR_S})
        AND shard = {rows.shard} GROUP BY t ORDER BY t FORMAT JSON"""
    reply = ask(None, {"Authorization": None, **login}, query=sql, add_http_cors_header=1)
    answer = json.loads(reply.body)
    assert [(int(row["t"]), int(row["count()"])) for row in answer["data"]] == [
        (START_S * 1000, 1), ((START_S + HOUR_S) * 1000, 50), ((START_S + 2 * HOUR_S) * 1000, 50),
    ]  # fmt: skip
    assert {"meta", "rows", "statistics"} <= set(answer)
