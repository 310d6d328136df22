"""The endpoint: it answers what reads the archive, and refuses the rest, whoever words it how."""

import asyncio
import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from socket import socket

import aiohttp
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.clickhouse.client import chdb_folder
from sinks.clickhouse.errors import QueryRefused
from sinks.clickhouse.read_only import ReadOnlyArchive, checked
from sinks.clickhouse.run import NOTHING, LedgerBlock, Run
from stream.commands import query as query_command
from stream.errors import OperatorError
from stream.query_endpoint import QueryEndpoint

TOKEN = "sesame"


@pytest.fixture(scope="module")
def reader(chdb, chdb_dsn) -> Iterator[ReadOnlyArchive]:
    chdb.high_water(0)
    reader = ReadOnlyArchive(chdb_folder(chdb_dsn))
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def secret(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("files") / "secret.csv"
    path.write_text("secret\n")
    return str(path)


@pytest.fixture
def url() -> str:
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def serve(reader, url, use):
    """Runs `use(session)` against a running endpoint."""

    async def main():
        thread = ThreadPoolExecutor(1)
        endpoint = QueryEndpoint(url, TOKEN, reader, thread)
        await endpoint.start()
        try:
            async with aiohttp.ClientSession(url) as session:
                return await use(session)
        finally:
            await endpoint.stop()
            thread.shutdown()

    return asyncio.run(main())


BEARER = {"Authorization": f"Bearer {TOKEN}"}


def test_reading_with_formats_and_parameters(reader, url):
    async def use(session):
        arguments = {"query": "SELECT {a:UInt8} + 1 AS x", "param_a": "41", "default_format": "JSON"}
        async with session.get("/", params=arguments, headers=BEARER) as response:
            assert response.content_type == "application/json"
            assert (await response.json())["data"] == [{"x": 42}]
        async with session.post(
            "/", data="SELECT 'é' AS x -- ;\nFORMAT CSVWithNames;", headers=BEARER
        ) as response:
            assert await response.text() == '"x"\n"é"\n'
            assert response.headers["X-ClickHouse-Format"] == "CSVWithNames"
        async with session.post(
            "/", params={"query": "SELECT 1"}, data=" UNION ALL SELECT 1", headers=BEARER
        ) as r:
            assert await r.text() == "1\n1\n"
        async with session.get("/", headers=BEARER) as response:
            assert await response.text() == "Ok.\n"

    serve(reader, url, use)


def test_the_token_is_required_in_one_of_the_ways_of_clickhouse_clients(reader, url):
    basic = base64.b64encode(f"any:{TOKEN}".encode()).decode()
    right = [
        {"headers": BEARER},
        {"headers": {"X-ClickHouse-Key": TOKEN}},
        {"headers": {"Authorization": f"Basic {basic}"}},
        {"params": {"password": TOKEN}},
    ]
    wrong = [
        {},
        {"headers": {"Authorization": "Bearer other"}},
        {"headers": {"Authorization": "Basic %%"}},
        {"headers": {"X-ClickHouse-Key": ""}},
        {"params": {"password": TOKEN + "x"}},
    ]

    async def use(session):
        async with session.get("/ping") as response:
            assert (response.status, await response.text()) == (200, "Ok.\n")
        for arguments in right:
            async with session.post("/", data="SELECT 1", **arguments) as response:
                assert response.status == 200, arguments
        for arguments in wrong:
            async with session.post("/", data="SELECT 1", **arguments) as response:
                assert response.status == 401, arguments
                assert response.headers["X-ClickHouse-Exception-Code"] == "516"

    serve(reader, url, use)


def test_errors_are_those_of_clickhouse(reader, url):
    cases = {
        "SELEC 1": (403, "164"),
        "SELECT 1 +": (400, "62"),
        "SELECT * FROM nothing": (404, "60"),
        "SELECT nothing FROM entries": (400, "47"),
        "SELECT sum(number) FROM numbers(1000000000000) SETTINGS max_execution_time = 0": (403, "164"),
        "SELECT number FROM numbers(2000000)": (400, "396"),
        "SELECT 1; SELECT 2": (400, "62"),
    }

    async def use(session):
        for sql, (status, code) in cases.items():
            async with session.post("/", data=sql, headers=BEARER) as response:
                text = await response.text()
                assert (response.status, response.headers["X-ClickHouse-Exception-Code"]) == (status, code), (
                    text
                )
                assert text.startswith(f"Code: {code}. DB::Exception: ")
        async with session.post("/", data="SELECT 1", headers=BEARER) as response:
            assert await response.text() == "1\n"
        async with session.put("/", data="SELECT 1", headers=BEARER) as response:
            assert response.status == 405

    serve(reader, url, use)


def test_a_query_is_ended_in_time_and_leaves_nothing_to_the_next(reader, url, monkeypatch):
    monkeypatch.setattr("sinks.clickhouse.read_only._LIMITS", {"max_execution_time": 0.2, "readonly": 1})
    reader.close()

    async def use(session):
        slow = "SELECT sum(number) AS slow FROM numbers(1000000000000) FORMAT JSONCompact"
        async with session.post("/", data=slow, headers=BEARER) as response:
            assert response.status == 408
        async with session.post("/", data="SELECT 7 FORMAT TSVWithNames", headers=BEARER) as response:
            assert await response.text() == "7\n7\n"

    serve(reader, url, use)
    reader.close()


WRITES = [
    "INSERT INTO ledger_rows (shard) VALUES (1)",
    "CREATE TABLE t (a Int8) ENGINE = Memory",
    "DROP VIEW entries",
    "ALTER TABLE ledger_rows DELETE WHERE 1",
    "TRUNCATE TABLE ledger_rows",
    "OPTIMIZE TABLE ledger_rows",
    "SET readonly = 0",
    "SYSTEM SHUTDOWN",
    "KILL QUERY WHERE 1",
    "ATTACH TABLE t FROM '/tmp' (a Int8) ENGINE = File(CSV)",
    "BACKUP TABLE ledger_rows TO File('/tmp/b')",
    "/* SELECT */ DROP TABLE ledger_rows",
    "(SELECT 1)",
    "",
]


@pytest.mark.parametrize("sql", WRITES)
def test_writing_is_refused_before_the_engine_and_by_it(reader, chdb_dsn, sql):
    with pytest.raises(QueryRefused):
        reader.query(sql, "TSV", {})
    if sql not in ("", "(SELECT 1)") and not sql.startswith(("KILL", "SET", "SYSTEM")):
        connection = reader._open()
        with pytest.raises(Exception, match=r"READONLY|INVALID_CONFIG"):
            connection.query(sql, "TSV")
        reader.close()


OUTSIDE = [
    "SELECT * FROM file('{file}')",
    "SELECT file('{file}')",
    "SELECT `file`('{file}')",
    "SELECT \"file\" ('{file}')",
    "SELECT \"fi\\x6ce\"('{file}')",
    "SELECT file/* */ ('{file}')",
    "SELECT FILE('{file}')",
    "SELECT arrayMap(file, ['{file}'])",
    "SELECT * APPLY(file) FROM (SELECT '{file}')",
    "SELECT arrayMap({{f:Identifier}}, ['{file}'])",
    "SELECT * FROM \"file\"('{file}')",
    "DESCRIBE file('{file}')",
    "DESCRIBE TABLE url('http://127.0.0.1:1/')",
    "EXPLAIN SELECT * FROM file('{file}')",
    "WITH (SELECT file('{file}')) AS x SELECT x",
    "SELECT * FROM url('http://127.0.0.1:1/x', CSV, 'a String')",
    "SELECT * FROM s3('http://127.0.0.1:1/x/y')",
    "SELECT * FROM remote('127.0.0.1:9000', system.one)",
    "SELECT * FROM executable('id', TSV, 'a String')",
    "SELECT * FROM Python(secret)",
    "SELECT * FROM fileCluster('c', '{file}')",
    "SELECT * FROM sqlite('{file}', 't')",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT aiGenerate('x')",
    "SELECT 1 INTO OUTFILE '{file}.out'",
    "SELECT 1 INTO\n/**/outfile '{file}.out'",
    "SELECT $$file$$",
    "SELECT “file”",
]


@pytest.mark.parametrize("sql", OUTSIDE)
def test_nothing_outside_the_archive_is_reached(reader, secret, tmp_path, sql):
    with pytest.raises(QueryRefused) as refused:
        reader.query(sql.format(file=secret), "TSV", {"f": "file"})
    assert refused.value.code in (62, 497)


def test_words_of_refused_functions_may_stand_in_texts_and_columns(reader):
    sql = """SELECT 'file(x) ; INTO OUTFILE' AS "url", 1 AS remote /* file('x') */ -- url('x')
        , concat('a', 'b''c\\'')"""
    assert reader.query(sql, "TSV", {}).body == b"file(x) ; INTO OUTFILE\t1\tab\\'c\\'\n"


@given(st.text(st.sampled_from("ab'\"`\\ -/*#!;$(){}\n\u00e9\u2019x1,")))
@settings(max_examples=400, deadline=None)
def test_any_text_is_refused_or_handed_on_as_it_was_read(sql):
    try:
        tokens = checked("SELECT " + sql, set())
    except QueryRefused:
        return
    text = "".join(token.text for token in tokens)
    assert [t for t in checked(text, set()) if t.kind != "space"] == [t for t in tokens if t.kind != "space"]


class Stack:
    """What `points query` needs of the settings."""

    clickhouse_dsn = "chdb:///nowhere"

    def __init__(self, url: str, token: str = TOKEN) -> None:
        self.query_url, self.query_token = url, token


def test_points_query(reader, url, monkeypatch, chdb, chains, shard):
    blocks = chains.chain(shard, [(2, 0)])
    chdb.append(Run(shard, tuple(LedgerBlock(b, b.meta.seq) for b in blocks)), NOTHING)
    monkeypatch.setattr(query_command, "load", lambda: Stack(url))

    def run(*arguments):
        return CliRunner().invoke(query_command.query, arguments)

    async def use(session):
        ask = f"SELECT seq, row, verdict, '碳积分' AS x FROM entries WHERE shard = {shard} ORDER BY seq, row"
        table = await asyncio.to_thread(run, ask)
        assert table.exit_code == 0, table.exception
        lines = table.output.splitlines()
        assert [cell.strip() for cell in lines[5].strip("│").split("│")] == ["1", "1", "credited", "碳积分"]
        assert lines[-1] == "3 rows"
        rows = json.loads((await asyncio.to_thread(run, ask, "--json")).output)
        assert rows[2] == {"seq": 1, "row": 1, "verdict": "credited", "x": "碳积分"}
        assert (await asyncio.to_thread(run, ask + " FORMAT CSV")).output.splitlines()[
            0
        ] == '0,0,"genesis","碳积分"'
        wide = await asyncio.to_thread(run, f"SELECT * FROM entries WHERE shard = {shard} LIMIT 1")
        assert "genesis" in wide.output
        steering = await asyncio.to_thread(run, "SELECT 'a\\x1b[2Jb' AS x")
        assert "a\\u001b[2Jb" in steering.output
        error = (await asyncio.to_thread(run, "SELECT * FROM nothing")).exception
        assert isinstance(error, OperatorError)
        assert "UNKNOWN_TABLE" in error.message
        assert "SHOW TABLES" in error.todo

    serve(reader, url, use)
    error = run("SELECT 1").exception
    assert isinstance(error, OperatorError)
    assert error.todo == "start it with: points worker archive."
