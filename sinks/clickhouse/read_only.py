"""Reading the archive with anybody's SQL, and nothing else.

Two guards: chDB's own (`readonly = 1`, which also fixes the limits), and one before it (sql_guard.py).
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
from sinks.clickhouse.query_settings import settings_of_query
from sinks.clickhouse.sql_guard import Statement, statement, table_functions_to_refuse

DEFAULT_FORMAT = "TabSeparated"  # ClickHouse's over HTTP
# `default` is what clients send who were not told a name; chDB's own database of that name has no table.
_DATABASES = {"": CHDB_DATABASE, "default": CHDB_DATABASE, CHDB_DATABASE: CHDB_DATABASE, "system": "system"}


@dataclass(frozen=True)
class Question:
    """One query, as a client of ClickHouse's HTTP interface words it.

    `default_format` holds if the SQL names none; `settings` are as given, unchecked; `protocol_version` is
    what the client wants Native in (see native_blocks.py).
    """

    sql: str
    default_format: str = DEFAULT_FORMAT
    parameters: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    database: str = ""
    protocol_version: int = 0


class Answer(NamedTuple):
    """The bytes of a result, what they are, and what it took. `timezone` is of DateTime without one."""

    body: bytes
    format: str
    content_type: str
    timezone: str
    read_rows: int
    read_bytes: int
    result_rows: int
    elapsed_s: float


class _Engine(NamedTuple):
    """What the engine knows; it does not change."""

    refused_functions: set[str]
    settings: set[str]
    formats: dict[str, tuple[str, str]]  # in small letters: name, Content-Type


class _Handle(NamedTuple):
    """A connection that cannot write any more, and what it was opened with."""

    connection: Any
    database: str
    settings: dict[str, str]
    timezone: str


class ReadOnlyArchive:
    """A second handle to the chDB folder of this process's archive, which cannot write.

    Use it from the thread that uses the archive. After an error the handle is replaced: what a failed query
    left in it would come before the next answer. It is replaced, too, for a query with other settings, as
    they cannot be changed once it only reads: opening one takes 2 ms.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._engine: _Engine | None = None
        self._handle: _Handle | None = None

    def answer(self, question: Question) -> Answer:
        """The answer to one statement. Raises `QueryRefused` with ClickHouse's code and message."""
        try:
            return self._answer(question)
        except QueryRefused:
            raise
        except (chdb.ChdbError, RuntimeError) as error:
            self.close()
            raise _refused(str(error)) from error

    def close(self) -> None:
        """Closes the handle; the next query opens another."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.connection.close()

    def _answer(self, question: Question) -> Answer:
        engine = self._engine = self._engine or self._ask_engine()
        asked = statement(question.sql, engine.refused_functions)
        name = asked.format or question.default_format
        if name.lower() not in engine.formats:
            raise QueryRefused.of(73, "UNKNOWN_FORMAT", f"Unknown format {name}")
        name, content_type = engine.formats[name.lower()]
        check_version(question.protocol_version)
        handle = self._open(question.database, settings_of_query(question.settings, engine.settings))
        blocks = name == "Native" and question.protocol_version > 0
        result = handle.connection.query(asked.text, "Buffers" if blocks else name, question.parameters)
        body = result.bytes() or b""
        if blocks and body:
            columns = _columns(handle.connection, asked, question.parameters)
            body = native_blocks(body, columns, question.protocol_version)
        read = result.storage_rows_read(), result.storage_bytes_read(), result.rows_read(), result.elapsed()
        return Answer(body, name, content_type, handle.timezone, *read)

    def _open(self, database: str, settings: dict[str, str]) -> _Handle:
        if database not in _DATABASES:
            raise QueryRefused.of(81, "UNKNOWN_DATABASE", f"Database {database} does not exist")
        name = _DATABASES[database]
        if self._handle is None or self._handle[1:3] != (name, settings):
            self.close()
            connection = chdb.connect(str(self._folder.resolve()))
            try:
                connection.query(f"USE {name}")
                pairs = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
                connection.query(f"SET {pairs}")
                timezone = connection.query("SELECT timezone()", "TSVRaw").bytes().decode().strip()
            except Exception:
                connection.close()
                raise
            self._handle = _Handle(connection, name, settings, timezone)  # not before it is read-only
        return self._handle

    def _ask_engine(self) -> _Engine:
        connection = self._open("", settings_of_query({}, set())).connection

        def rows(sql: str) -> list[list[str]]:
            body = connection.query(sql, "JSONCompactEachRow").bytes()
            return [json.loads(line) for line in body.splitlines()]

        functions = {name for (name,) in rows("SELECT lower(name) FROM system.table_functions")}
        settings = {name for (name,) in rows("SELECT name FROM system.settings")}
        formats = rows("SELECT name, content_type FROM system.formats WHERE is_output")
        return _Engine(
            table_functions_to_refuse(functions),
            settings,
            {name.lower(): (name, content_type) for name, content_type in formats},
        )


def _columns(connection: Any, asked: Statement, parameters: dict[str, str]) -> list[tuple[str, str]]:
    """Names and types of the columns of a result. A query is only analysed for it."""
    sql = f"DESCRIBE ({asked.text})" if asked.returns_rows_of_a_query else asked.text
    answer = json.loads(connection.query(sql, "JSONCompact", parameters).bytes())
    if asked.returns_rows_of_a_query:
        return [(name, type_name) for name, type_name, *_ in answer["data"]]
    return [(column["name"], column["type"]) for column in answer["meta"]]


def _refused(message: str) -> QueryRefused:
    """ClickHouse's error, from its own code on."""
    start = max(message.find("Code: "), 0)
    code = re.match(r"Code: (\d+)", message[start:])
    return QueryRefused(int(code[1]) if code else 0, message[start:].strip())
