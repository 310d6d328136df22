"""Every name that the engine knows: off the list it is refused, on the list it tells nothing of a marker."""

import contextlib
import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from sinks.clickhouse.client import chdb_folder
from sinks.clickhouse.errors import QueryRefused
from sinks.clickhouse.nameable import (
    AGGREGATES,
    FUNCTIONS,
    OPERATOR,
    PERSONS,
    SYNTAX,
    SYSTEM_TABLES,
    TABLE_FUNCTIONS,
    TABLES,
    TOTALS,
)
from sinks.clickhouse.read_only import Question, ReadOnlyArchive

SECRET = "k9Vx-marker-content"
REFUSED = {46, 60, 62, 81, 164, 497}  # before the engine: no such function, table or database, or not allowed


class Asked(NamedTuple):
    """What one query came to: its code, 0 if it was answered, and all bytes that its sender gets."""

    code: int
    told: bytes


class Reader:
    """A reader of the archive, and the path of a file with `SECRET` beside its folder."""

    def __init__(self, archive: ReadOnlyArchive, marker: str) -> None:
        self.archive, self.marker = archive, marker

    def ask(self, sql: str, sees: str = OPERATOR) -> Asked:
        try:
            return Asked(
                0, self.archive.answer(Question(sql, sees, settings={"max_execution_time": "2"})).body
            )
        except QueryRefused as error:
            return Asked(error.code, error.message.encode())

    def names(self, sql: str) -> list[str]:
        return [
            json.loads(line)[0] for line in self.ask(f"{sql} FORMAT JSONCompactEachRow").told.splitlines()
        ]


@pytest.fixture(scope="module")
def reader(chdb, chdb_dsn) -> Iterator[Reader]:
    chdb.high_water(0)
    folder = chdb_folder(chdb_dsn)
    marker = folder.with_name("marker.csv")
    marker.write_text(f"a,b\n{SECRET},1\n")
    archive = ReadOnlyArchive(folder)
    yield Reader(archive, str(marker))
    archive.close()


@pytest.fixture(scope="module", autouse=True)
def _no_system_table_has_it(reader, sql) -> Iterator[None]:
    """Neither an error nor a log nor a cache keeps the marker's content, whoever could read it there."""
    yield
    read = set()
    for (table,) in sql("SELECT name FROM system.tables WHERE database = 'system'"):
        with contextlib.suppress(DatabaseError):  # some need a server's configuration
            assert SECRET not in str(sql(f"SELECT * FROM system.`{table}` LIMIT 10000")), table
            read.add(table)
    assert read >= {"errors", "schema_inference_cache", "tables", "dictionaries"}


def texts(marker: str, count: int) -> list[str]:
    """Lists of `count` arguments that name the marker, in ways that the engine's functions name things."""
    return [", ".join([f"'{name}'"] * count) for name in (marker, f"default.{marker}")]


def calls(reader: Reader, call: str) -> Iterator[Asked]:
    """`call`, a query, with one to three arguments."""
    for count in (1, 2, 3):
        for arguments in texts(reader.marker, count):
            yield reader.ask(call.format(arguments))


def test_functions_off_the_list_are_refused_and_those_on_it_tell_nothing(reader):
    told = 0
    canonical = reader.names("SELECT name FROM system.functions WHERE alias_to = ''")
    assert set(canonical) >= FUNCTIONS | AGGREGATES, "the list names what the engine has not"
    for name in canonical:
        listed = name in FUNCTIONS | AGGREGATES
        for asked in calls(reader, f"SELECT `{name}`({{}})") if listed else ():
            assert SECRET.encode() not in asked.told, name
            told += asked.code == 0
        if name in AGGREGATES:
            assert SECRET.encode() not in reader.ask(f"SELECT `{name}`('{reader.marker}')(1)").told
        if not listed:
            for asked in (
                reader.ask(f"SELECT `{name}`('{reader.marker}')"),
                reader.ask(f"SELECT arrayMap({name}, ['{reader.marker}'])"),
                reader.ask(f"SELECT arrayMap(x -> {name}(x), ['{reader.marker}'])"),
                reader.ask(f"SELECT {name}If('{reader.marker}', 1)"),
                reader.ask(f"SELECT * APPLY({name}) FROM (SELECT '{reader.marker}')"),
            ):
                assert asked.code in REFUSED | {47}, (name, asked)  # 47: an aggregate as an argument
                assert SECRET.encode() not in asked.told, name
    assert told > 500, "hardly any function took the texts: the test tells little"


def test_aliases_go_with_what_they_are_an_alias_of(reader):
    sql = "SELECT concat(name, ' ', alias_to) FROM system.functions WHERE alias_to != ''"
    for name, called in (line.split() for line in reader.names(sql)):
        asked = reader.ask(f"SELECT `{name}`('{reader.marker}')")
        assert (called in FUNCTIONS | AGGREGATES) == (asked.code not in REFUSED - {46, 62}), (name, asked)


def test_names_in_other_letters_and_with_combinators_are_no_way_round(reader):
    for name in (
        "FILE",
        "File",
        "dictget",
        "DictGet",
        "JOINGET",
        "fileIf",
        "fileArray",
        "groupFormatIf",
        "sumFile",
    ):
        assert reader.ask(f"SELECT {name}('{reader.marker}')").code in REFUSED, name
    assert (
        reader.ask("SELECT SUM(1), sumIf(1, 1), uniqExactArrayIf([1], 1), COUNT(DISTINCT 1)").told
        == b"1\t1\t1\t1\n"
    )
    listed = {name.lower(): name for name in FUNCTIONS | AGGREGATES | SYNTAX}
    for name in reader.names("SELECT name FROM system.functions WHERE alias_to = ''"):
        assert listed.get(name.lower(), name) == name, "two functions that differ in their letters alone"


def test_table_functions_off_the_list_are_refused_and_those_on_it_tell_nothing(reader):
    known = {*reader.names("SELECT name FROM system.table_functions"), "Python", "python", "python3"}
    assert known >= TABLE_FUNCTIONS
    for name in known:
        for asked in calls(reader, f"SELECT * FROM `{name}`({{}}) LIMIT 10"):
            assert SECRET.encode() not in asked.told, name
            assert name in TABLE_FUNCTIONS or asked.code in REFUSED, (name, asked)
        for place in ("DESCRIBE {}", "EXPLAIN SELECT * FROM {}", "SELECT 1 IN (SELECT * FROM {})"):
            asked = reader.ask(place.format(f"`{name}`('{reader.marker}')"))
            assert name in TABLE_FUNCTIONS or asked.code in REFUSED, (name, asked)


def test_no_engine_of_a_table_can_be_named(reader):
    for name in reader.names("SELECT name FROM system.table_engines"):
        for sql in (
            f"CREATE TABLE made (a String) ENGINE = {name}('{reader.marker}')",
            f"CREATE TEMPORARY TABLE made (a String) ENGINE = {name}('{reader.marker}')",
            f"ATTACH TABLE made FROM '{reader.marker}' (a String) ENGINE = {name}",
            f"SELECT * FROM {name}('{reader.marker}', 'CSV')",
        ):
            asked = reader.ask(sql)
            assert asked.code in REFUSED or name.lower() in {f.lower() for f in TABLE_FUNCTIONS}, (sql, asked)


OF_A_TABLE = (
    "SELECT * FROM {0} LIMIT 1", "SELECT count() FROM (SELECT * FROM {0})", "SELECT 1 IN {0}", "DESCRIBE {0}",
    "WITH t AS (SELECT * FROM {0}) SELECT * FROM t", "EXPLAIN SELECT * FROM {0}", "SHOW CREATE TABLE {0}",
    "SELECT 1 FROM numbers(1) AS n CROSS JOIN {0}", "(SELECT 1) UNION ALL (SELECT count() FROM {0})",
)  # fmt: skip


def test_databases_and_tables_off_the_list_are_refused_for_each_who_asks(reader):
    sql = "SELECT concat('`', database, '`.`', name, '`') FROM system.tables"
    named = reader.names(sql)
    assert len(named) > 150
    allowed = {f"`system`.`{name}`" for name in SYSTEM_TABLES}
    for sees, tables in TABLES.items():
        listed = allowed | {f"`points`.`{name}`" for name in tables}
        assert listed <= {*named}, "the list names what is not there"
        for table in named:
            for form in OF_A_TABLE if table not in listed else ():
                asked = reader.ask(form.format(table), sees)
                assert asked.code in REFUSED, (sees, form, table, asked)
            if table in listed:
                assert reader.ask(f"DESCRIBE {table}", sees).code == 0, (sees, table)
    for database in {*reader.names("SELECT name FROM system.databases"), "default"} - {"points", "system"}:
        for form in (*OF_A_TABLE, "SHOW TABLES FROM {1}", "EXISTS {0}"):
            asked = reader.ask(form.format(f"`{database}`.`{reader.marker}`", f"`{database}`"))
            assert asked.code in REFUSED, (form, database, asked)


def test_who_sees_totals_cannot_name_a_view_of_persons_in_any_way(reader):
    hidden = TABLES[OPERATOR] - TABLES[TOTALS]
    for table in hidden:
        for form in (
            *OF_A_TABLE,
            "SELECT {0}.uid FROM app_per_day",
            "SELECT (WITH {0} AS (SELECT 1) SELECT 1), (SELECT count() FROM {0})",
            "SELECT 'x' IN {0} FROM app_per_day",
            "EXISTS {0}",
        ):
            for name in (table, f"`{table}`", f"points.{table}"):
                assert reader.ask(form.format(name), TOTALS).code in REFUSED, (form, name)


def test_no_view_of_totals_has_a_column_of_a_person_or_of_one_report(reader):
    personal = {"uid", "report_id", "source_txn", "claim_member", "id_member", "inputs", "detail", "offset"}
    for view in TABLES[TOTALS]:
        sql = f"SELECT name FROM system.columns WHERE database = 'points' AND table = '{view}'"
        columns = reader.names(sql)
        assert columns, view
        assert not any(column.removeprefix("first_") in personal for column in columns), view


def test_every_view_has_its_place_on_the_list_and_no_column_is_called_like_a_refused_function(reader):
    assert {*reader.names("SHOW TABLES")} == TABLES[OPERATOR]
    views = {*reader.names("SELECT name FROM system.tables WHERE database = 'points' AND engine = 'View'")}
    assert views == TABLES[PERSONS]
    for table in TABLES[OPERATOR]:
        for column in reader.names(
            f"SELECT name FROM system.columns WHERE database = 'points' AND table = '{table}'"
        ):
            asked = reader.ask(f"SELECT {column} FROM {table} LIMIT 0")
            assert asked.code == 0, (table, column, asked)
