"""Real clients against each endpoint: curl and clickhouse-connect."""

import datetime as dt
import json
import shutil
import subprocess
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.fixture
def curl(endpoint):
    """curl with the reader's password; what it prints."""
    if not (program := shutil.which("curl")):
        pytest.skip("no curl on PATH: test_query_contract.py makes the same requests with http.client")

    def run(*arguments: str, path: str = "/", stdin: bytes = b"") -> str:
        login = ("--user", f"{endpoint.user}:{endpoint.password}")
        url = f"{endpoint.url}{path}?database={endpoint.database}"
        done = subprocess.run(
            [program, "--silent", "--show-error", *login, *arguments, url], input=stdin, capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    return run


def test_curl_in_the_ways_of_the_manual(curl):
    sql = "SELECT count() AS n, {v:String} AS v FROM entries WHERE verdict = {v:String} FORMAT JSONEachRow"
    with_v = ("--url-query", "param_v=genesis")
    by_get = curl("--get", "--data-urlencode", f"query={sql}", "--data-urlencode", "param_v=genesis")
    assert int(json.loads(by_get)["n"]) >= 1
    assert curl("--data-binary", sql, *with_v) == by_get
    assert curl("--data-binary", "@-", *with_v, stdin=sql.encode()) == by_get
    assert curl("--form", f"query={sql}", "--form", "param_v=genesis") == by_get
    assert curl("--compressed", "--data-binary", sql, *with_v) == by_get
    head = curl("--head", "--url-query", "query=SELECT 1 FORMAT CSV")
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "X-ClickHouse-Format: CSV\r\n" in head
    assert curl(path="/ping") == "Ok.\n"


def test_curl_cannot_write_as_a_reader(curl):
    for write in ("DROP TABLE ledger_rows", "INSERT INTO ledger_rows (shard) VALUES (1)"):
        refused = curl("--data-binary", write, "--url-query", "readonly=1", "--write-out", "%{http_code}")
        assert refused.startswith("Code: 164. DB::Exception: ")
        assert refused.endswith("\n500")


@pytest.fixture
def client(endpoint) -> Iterator[Client]:
    """clickhouse-connect as its manual opens it: sessions, compression and client_protocol_version on."""
    with connected(endpoint) as client:
        yield client


def connected(endpoint, **more: object) -> Client:
    return clickhouse_connect.get_client(
        host=endpoint.host,
        port=endpoint.port,
        username=endpoint.user,
        password=endpoint.password,
        database=endpoint.database,
        **more,
    )


def test_clickhouse_connect_reads_every_type_with_its_time_zone(client):
    sql = """
        SELECT toLowCardinality('a'), [1, 2], map('a', 1), toDecimal64('1.5', 3), NULL, true, toNullable(5),
            toDateTime(0, 'Asia/Shanghai'), toDateTime64('2024-09-07 08:00:00.250', 3, 'Asia/Shanghai'),
            ('x', 2.5), toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0'), toDate('2024-09-07'),
            CAST('b', 'Enum8(''b'' = 1)'), ''"""
    row = client.query(sql).first_row
    assert row[:3] + row[4:7] == ("a", [1, 2], {"a": 1}, None, True, 5)
    decimal, moment, precise, pair, uuid, day, enum, empty = row[3:4] + row[7:]
    assert (str(decimal), pair, str(uuid), enum, empty) == (
        "1.500", ("x", 2.5), "61f0c404-5cb3-11e7-907b-a6006ad3dba0", "b", "",
    )  # fmt: skip
    assert moment == dt.datetime(1970, 1, 1, 8, tzinfo=SHANGHAI)
    assert precise == dt.datetime(2024, 9, 7, 8, 0, 0, 250_000, tzinfo=SHANGHAI)
    assert (str(moment.tzinfo), str(precise.tzinfo), day) == ("Asia/Shanghai",) * 2 + (dt.date(2024, 9, 7),)


def test_clickhouse_connect_with_parameters_frames_arrow_and_streams(client, rows):
    shard = {"shard": rows.shard}
    result = client.query("SELECT seq, row, points_milli FROM entries WHERE shard={shard:UInt16}", shard)
    assert result.column_names == ("seq", "row", "points_milli")
    assert len(result.result_rows) == 101
    assert int(result.summary["read_rows"]) >= 101
    assert client.query("SELECT %(text)s", {"text": "it's \\ a\ttab\n"}).first_row == ("it's \\ a\ttab\n",)
    assert client.query("SELECT {text:String}", {"text": "it's \\ a\ttab\n"}).first_row == (
        "it's \\ a\ttab\n",
    )
    per_verdict = (
        "SELECT verdict, count() AS n FROM entries WHERE shard = {shard:UInt16} GROUP BY 1 ORDER BY n"
    )
    expected = [{"verdict": "genesis", "n": 1}, {"verdict": "credited", "n": 100}]
    assert client.query_df(per_verdict, shard).to_dict("records") == expected
    assert client.query_arrow(per_verdict, shard).to_pylist() == expected
    assert client.raw_query(per_verdict, shard, fmt="CSV") == b'"genesis",1\n"credited",100\n'
    many = "SELECT number, toString(number) FROM numbers(300000)"
    with client.query_row_block_stream(many) as blocks:
        sizes = [(len(block), block[-1]) for block in blocks]
    assert sum(size for size, _ in sizes) == 300_000
    assert sizes[-1][1] == (299_999, "299999")
    assert len(sizes) > 1
    assert client.query("SELECT seq FROM entries WHERE shard = 65535").result_rows == []
    assert "entries" in {name for (name,) in client.query("SHOW TABLES").result_rows}
    assert client.command("SELECT 40 + 2") == 42


def test_clickhouse_connect_sends_long_queries_as_a_form(endpoint):
    with clickhouse_connect.get_client(
        host=endpoint.host,
        port=endpoint.port,
        username=endpoint.user,
        password=endpoint.password,
        form_encode_query_params=True,
    ) as client:
        numbers = list(range(3_000))
        assert client.query("SELECT arraySum({n:Array(UInt32)})", {"n": numbers}).first_row == (sum(numbers),)


def test_clickhouse_connect_tells_the_code_of_an_error(client):
    with pytest.raises(DatabaseError) as refused:
        client.query("SELECT * FROM nothing")
    assert refused.value.code == 60


def test_clickhouse_connect_cannot_write_as_a_reader(endpoint):
    with connected(endpoint, settings={"readonly": 1}) as client:
        for write in (
            lambda: client.insert("ledger_rows", [[1]], ["shard"], column_type_names=["UInt16"]),
            lambda: client.raw_insert("ledger_rows", ["shard"], b"1\n", fmt="TSV"),
            lambda: client.command("CREATE TABLE made (a Int8) ENGINE = Memory"),
            lambda: client.command("TRUNCATE TABLE ledger_rows"),
        ):
            with pytest.raises(DatabaseError) as refused:
                write()
            assert refused.value.code == 164
        assert client.command("SELECT count() > 100 FROM entries") == 1
