"""The reader's two guards: no word of a query writes, reaches outside or changes its limits."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.clickhouse.client import chdb_folder
from sinks.clickhouse.errors import QueryRefused
from sinks.clickhouse.nameable import OPERATOR, SETTINGS
from sinks.clickhouse.query_settings import LIMITS, settings_of_query
from sinks.clickhouse.read_only import Question, ReadOnlyArchive
from sinks.clickhouse.sql_guard import checked


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


def ask(sql: str, *more: object, **named: object) -> Question:
    """A question of an operator, who may name more than anybody else."""
    return Question(sql, OPERATOR, *more, **named)


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
    "",
]


@pytest.mark.parametrize("sql", WRITES)
def test_writing_is_refused_before_the_engine_and_by_it(reader, sql):
    with pytest.raises(QueryRefused):
        reader.answer(ask(sql))
    if sql and not sql.startswith(("KILL", "SET", "SYSTEM")):
        reader.answer(ask("SELECT 1"))
        with pytest.raises(Exception, match=r"READONLY|INVALID_CONFIG"):
            reader._handle.connection.query(sql, "TSV")
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
    "SELECT dictGet('default.{file}', 'a', 1)",
    "SELECT joinGet('default.{file}', 'a', 1)",
    "SELECT hasColumnInTable('default', '{file}', 'a')",
    "SELECT 1 IN default.`{file}`",
    "SELECT COLUMNS('a') APPLY(x -> file(x)) FROM (SELECT 1 AS a)",
    "WITH file AS f SELECT arrayMap(f, ['{file}'])",
    "SELECT sum(1) OVER (ROWS BETWEEN length(file('{file}')) PRECEDING AND CURRENT ROW)",
    "SELECT 1 AS a ORDER BY a WITH FILL STEP length(file('{file}'))",
    "SELECT count() FILTER (WHERE file('{file}') = '')",
    "SELECT initializeAggregation('groupFormat', '{file}')",
    "(SELECT 1) UNION ALL (SELECT * FROM file('{file}'))",
    "FROM file('{file}') SELECT *",
    "SELECT * FROM fileCluster('c', '{file}')",
    "SELECT * FROM sqlite('{file}', 't')",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT aiGenerate('x')",
    "EXISTS default.`{file}`",
    'EXISTS TABLE "default" . "{file}"',
    "SELECT * FROM system.one, Default.`{file}`",
    "SELECT 1 INTO OUTFILE '{file}.out'",
    "SELECT 1 FORMAT `TSV`",
    "SELECT 1 FORMAT TSV SETTINGS limit = 1",
    "EXPLAIN PLAN INSERT INTO ledger_rows (shard) VALUES (1)",
    "EXPLAIN CURRENT TRANSACTION",
    "SELECT 1 INTO\n/**/outfile '{file}.out'",
    "SELECT $$file$$",
    "SELECT “file”",
]


@pytest.mark.parametrize("sql", OUTSIDE)
def test_nothing_outside_the_archive_is_reached(reader, secret, sql):
    with pytest.raises(QueryRefused) as refused:
        reader.answer(ask(sql.format(file=secret), parameters={"f": "file"}))
    assert refused.value.code in (46, 62, 81, 164, 497)


def test_words_of_refused_functions_may_stand_in_texts_and_columns(reader):
    sql = """SELECT 'file(x) ; INTO OUTFILE' AS "url", 1 AS remote /* file('x') */ -- url('x')
        , concat('a', 'b''c\\'')"""
    assert reader.answer(ask(sql)).body == b"file(x) ; INTO OUTFILE\t1\tab\\'c\\'\n"


@pytest.mark.parametrize("name", ["dataframe", "ArrowTable", "datastore", "debug", "", "TSV'", "TSV; DROP"])
def test_only_formats_of_the_engine_are_written(reader, name):
    """Some names mean an object of Python to chDB, not bytes."""
    with pytest.raises(QueryRefused) as refused:
        reader.answer(ask("SELECT 1", default_format=name))
    assert refused.value.code == 73


@given(st.text(st.sampled_from("ab'\"`\\ -/*#!;$(){}\n\u00e9\u2019x1,")))
@settings(max_examples=400, deadline=None)
def test_any_text_is_refused_or_handed_on_as_it_was_read(sql):
    try:
        tokens = checked("SELECT " + sql)
    except QueryRefused:
        return
    text = "".join(token.text for token in tokens)
    assert [t for t in checked(text) if t.kind != "space"] == [t for t in tokens if t.kind != "space"]


REFUSED_SETTINGS = [
    ("readonly", "0", 164),
    ("max_threads", "64", 164),
    ("extremes", "1", 164),
    ("allow_ddl", "0", 164),
    ("format_schema", "/etc/passwd:x", 164),
    ("output_format_schema", "/tmp/x", 164),
    ("additional_table_filters", "{'entries': '1'}", 164),
    ("result_overflow_mode", "any", 164),
    ("SQL_mine", "1", 115),
    ("Max_Result_Rows", "1", 115),
    ("max_result_rows", "-1", 72),
    ("max_execution_time", "1e9", 72),
    ("limit", "1', readonly = '0", 36),
    ("log_comment", "a\\", 36),
    ("log_comment", "a\nb", 36),
]


@pytest.mark.parametrize(("name", "value", "code"), REFUSED_SETTINGS)
def test_settings_that_are_not_for_readers_are_refused(reader, name, value, code):
    with pytest.raises(QueryRefused) as refused:
        reader.answer(ask("SELECT 1", settings={name: value}))
    assert refused.value.code == code


def test_no_limit_is_raised(reader):
    """A higher one is not refused: clients send their own time-out as `max_execution_time`."""
    in_force = "SELECT value FROM system.settings WHERE name = {name:String}"
    for name, limit in {**LIMITS, "max_block_size": 65_409}.items():
        for asked, expected in ((limit * 1000, limit), (limit // 2, limit // 2), (0, limit)):
            settings = {name: str(asked)}
            assert int(reader.answer(ask(in_force, "TSV", {"name": name}, settings)).body) == expected
    assert reader.answer(ask(in_force, "TSV", {"name": "readonly"}, {"readonly": "2"})).body == b"1\n"


@given(
    st.dictionaries(
        st.sampled_from([*sorted(SETTINGS), *LIMITS, "readonly", "allow_ddl"]), st.text(max_size=20)
    )
)
@settings(max_examples=300)
def test_no_value_of_a_setting_ends_its_quotes_or_a_limit(given):
    try:
        settings = settings_of_query(given, dict.fromkeys(given, ""))
    except QueryRefused:
        return
    assert not any(set(value) & set("'\\\n") for value in settings.values())
    assert list(settings.items())[-1] == ("readonly", "1")
    assert all(0 < float(settings[name]) <= limit for name, limit in LIMITS.items())


def test_settings_of_one_query_are_not_those_of_the_next(reader):
    moment = "SELECT toDateTime(0)"
    asked = ask(moment, settings={"session_timezone": "Asia/Tokyo"})
    assert reader.answer(asked).body == b"1970-01-01 09:00:00\n"
    assert reader.answer(asked).timezone == "Asia/Tokyo"
    assert reader.answer(ask(moment)).body == b"1970-01-01 08:00:00\n"
    with pytest.raises(QueryRefused):
        reader.answer(ask(moment, settings={"session_timezone": "Nowhere/Land"}))
    assert reader.answer(ask("SELECT 1", database="default")).body == b"1\n"
