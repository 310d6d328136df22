"""Reading the archive with anybody's SQL, and nothing else.

Two guards: chDB's own (`readonly = 1`, which also fixes the limits), and before it the list of what may be
named (sql_names.py).
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import chdb

from sinks.clickhouse.client import CHDB_DATABASE
from sinks.clickhouse.errors import QueryRefused
from sinks.clickhouse.native_blocks import check_version, native_blocks
from sinks.clickhouse.query_settings import LIMITS, settings_of_query
from sinks.clickhouse.sql_guard import Statement, statement
from sinks.clickhouse.sql_names import Engine, Names
from sinks.clickhouse.sql_tree import tree_of

DEFAULT_FORMAT = "TabSeparated"  # ClickHouse's over HTTP
# `default` is what clients send who were not told a name.
_DATABASES = {"", "default", CHDB_DATABASE}


@dataclass(frozen=True)
class Question:
    """One query, as a client of ClickHouse's HTTP interface words it.

    `sees` is what its sender may name (nameable.py); `default_format` holds if the SQL names none;
    `settings` are as given, unchecked; `protocol_version` is what the client wants Native in, see
    native_blocks.py.
    """

    sql: str
    sees: str
    default_format: str = DEFAULT_FORMAT
    parameters: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    database: str = ""
    protocol_version: int = 0


class Answer(NamedTuple):
    """The bytes of a result, what they are, and what it took. `timezone` is of DateTime without one, `verb`
    the query's first word, `tables` those of the list that it named."""

    body: bytes
    format: str
    content_type: str
    timezone: str
    read_rows: int
    read_bytes: int
    result_rows: int
    elapsed_s: float
    verb: str
    tables: tuple[str, ...]


class _Facts(NamedTuple):
    """What the engine told about itself; it does not change."""

    engine: Engine
    settings: dict[str, str]  # with the values that a query has that brings none along
    formats: dict[str, tuple[str, str]]  # in small letters: name, Content-Type


class _Handle(NamedTuple):
    """A connection that cannot write any more, and what it was opened with."""

    connection: Any
    settings: dict[str, str]
    timezone: str


class ReadOnlyArchive:
    """A second handle to the chDB folder of this process's archive, which cannot write.

    Use it from the thread that uses the archive. After an error the handle is replaced: what a failed query
    left in it would come before the next answer. It is replaced, too, for a query with other settings, as
    they cannot be changed once it only reads: opening one takes 2 ms.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._facts: _Facts | None = None
        self._handle: _Handle | None = None

    def answer(self, question: Question) -> Answer:
        """The answer to one statement. Raises `QueryRefused` with ClickHouse's code and message."""
        verb = ""
        tables: tuple[str, ...] = ()
        try:
            facts = self._facts = self._facts or self._ask_engine()
            asked = statement(question.sql)
            verb = asked.verb
            handle = self._open(question, facts)
            names = Names(facts.engine, question.sees, asked.subqueries)
            try:
                self._check(handle, asked, question, names)
            finally:
                tables = tuple(sorted(names.tables))
            return self._answer(handle, facts, asked, question, tables)
        except QueryRefused as error:
            raise QueryRefused(error.code, error.message, verb, tables) from error
        except (chdb.ChdbError, RuntimeError) as error:
            self.close()
            raise self._refused(str(error), verb, tables) from error

    def close(self) -> None:
        """Closes the handle; the next query opens another."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.connection.close()

    def _check(self, handle: _Handle, asked: Statement, question: Question, names: Names) -> None:
        if asked.shown_database is not None:
            names.shown(asked.shown_database)
            return
        explained = handle.connection.query(f"EXPLAIN AST {asked.text}", "TSVRaw", question.parameters)
        names.check(tree_of(explained.bytes().decode()))

    def _answer(
        self, handle: _Handle, facts: _Facts, asked: Statement, question: Question, tables: tuple[str, ...]
    ) -> Answer:
        name = asked.format or question.default_format
        if name.lower() not in facts.formats:
            raise QueryRefused.of(73, "UNKNOWN_FORMAT", f"Unknown format {name}")
        name, content_type = facts.formats[name.lower()]
        check_version(question.protocol_version)
        blocks = name == "Native" and question.protocol_version > 0
        result = handle.connection.query(asked.text, "Buffers" if blocks else name, question.parameters)
        body = result.bytes() or b""
        if len(body) > LIMITS["max_result_bytes"]:
            # The engine counts its columns' bytes; and in overflow mode `break` it would cut the answer.
            message = f"The answer has more than {LIMITS['max_result_bytes']} bytes"
            raise QueryRefused.of(396, "TOO_MANY_ROWS_OR_BYTES", message)
        if blocks and body:
            columns = _columns(handle.connection, asked, question.parameters)
            body = native_blocks(body, columns, question.protocol_version)
        read = result.storage_rows_read(), result.storage_bytes_read(), result.rows_read(), result.elapsed()
        return Answer(body, name, content_type, handle.timezone, *read, asked.verb, tables)

    def _open(self, question: Question, facts: _Facts) -> _Handle:
        if question.database not in _DATABASES:
            raise QueryRefused.of(
                81, "UNKNOWN_DATABASE", f"Database {question.database} cannot be named here"
            )
        settings = settings_of_query(question.settings, facts.settings)
        if self._handle is None or self._handle.settings != settings:
            self.close()
            self._handle = self._connect(settings)
        return self._handle

    def _connect(self, settings: dict[str, str]) -> _Handle:
        connection = chdb.connect(str(self._folder))
        try:
            connection.query(f"USE {CHDB_DATABASE}")
            pairs = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
            connection.query(f"SET {pairs}")
            timezone = connection.query("SELECT timezone()", "TSVRaw").bytes().decode().strip()
        except Exception:
            connection.close()
            raise
        return _Handle(connection, settings, timezone)  # not before it is read-only

    def _ask_engine(self) -> _Facts:
        connection = self._connect(settings_of_query({}, {})).connection
        try:

            def rows(sql: str) -> list[list]:
                body = connection.query(sql, "JSONCompactEachRow").bytes()
                return [json.loads(line) for line in body.splitlines()]

            functions = rows("SELECT name, alias_to, case_insensitive, is_aggregate FROM system.functions")
            formats = rows("SELECT name, content_type FROM system.formats WHERE is_output")
            engine = Engine(
                {name: alias_to or name for name, alias_to, *_ in functions},
                {
                    name.lower(): alias_to or name
                    for name, alias_to, any_letters, _ in functions
                    if any_letters
                },
                {name for name, *_, is_aggregate in functions if not is_aggregate},
                {name for (name,) in rows("SELECT name FROM system.databases")},
                {
                    name
                    for (name,) in rows("SELECT name FROM system.tables WHERE database = currentDatabase()")
                },
            )
            return _Facts(
                engine,
                dict(rows("SELECT name, value FROM system.settings")),
                {name.lower(): (name, content_type) for name, content_type in formats},
            )
        finally:
            connection.close()

    def _refused(self, message: str, verb: str, tables: tuple[str, ...]) -> QueryRefused:
        """ClickHouse's error, from its own code on, without where in the machine its data lies."""
        start = max(message.find("Code: "), 0)
        code = re.match(r"Code: (\d+)", message[start:])
        told, *more = re.split(
            r"[:.,]? ?\(?while (?:reading|executing)", message[start:], maxsplit=1, flags=re.I
        )
        if more and (name := re.search(r" \([A-Z_]+\)$", more[0].strip())):
            told += name[0]
        told = told.replace(str(self._folder), "").strip()
        return QueryRefused(int(code[1]) if code else 0, told, verb, tables)


def _columns(connection: Any, asked: Statement, parameters: dict[str, str]) -> list[tuple[str, str]]:
    """Names and types of the columns of a result. A query is only analysed for it."""
    sql = f"DESCRIBE ({asked.text})" if asked.returns_rows_of_a_query else asked.text
    answer = json.loads(connection.query(sql, "JSONCompact", parameters).bytes())
    if asked.returns_rows_of_a_query:
        return [(name, type_name) for name, type_name, *_ in answer["data"]]
    return [(column["name"], column["type"]) for column in answer["meta"]]
