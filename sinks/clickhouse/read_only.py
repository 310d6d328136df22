"""Reading the archive with anybody's SQL, and nothing else: chDB's own guard, and one before it.

The engine refuses to write (`readonly = 1`, which also fixes the limits), but its `file()` reads any file of
the machine, `INTO OUTFILE` writes one, and several statements in a text all run. So a query is first split
into tokens here: what is not understood is refused, and only what was understood is handed on.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import chdb

from sinks.clickhouse.client import CHDB_DATABASE
from sinks.clickhouse.errors import QueryRefused

MAX_EXECUTION_TIME_S = 5  # the archive's inserts wait for a running query: they share its thread
_LIMITS = {
    "max_execution_time": MAX_EXECUTION_TIME_S,
    "max_result_rows": 1_000_000,
    "max_result_bytes": 64 << 20,
    "max_memory_usage": 2 << 30,
    "result_overflow_mode": "throw",
    "timeout_overflow_mode": "throw",
    "readonly": 1,  # last: from here on this handle's settings stand
}
_SYNTAX_ERROR, _READONLY, _ACCESS_DENIED = 62, 164, 497
_STATEMENTS = {"select", "with", "show", "describe", "desc", "explain", "exists"}
# Not only when called: `arrayMap(file, [...])` reads a file too, and {x:Identifier} can be any name.
_REFUSED_WORDS = {"file", "python", "infile", "outfile", "identifier"}
_HARMLESS_TABLE_FUNCTIONS = {
    "numbers", "numbers_mt", "zeros", "zeros_mt", "generateseries", "generate_series", "primes", "values",
    "null", "view", "merge", "format",
}  # fmt: skip
_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|\#[ !][^\n]*|/\*.*?\*/)
      | (?P<string>'(?:[^'\\]|\\.|'')*')
      | (?P<quoted>"[^"\\]*"|`[^`\\]*`)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<other>[0-9]+|[-+*/%<>=!?|@^~&.,:;(){}\[\]])""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)


class _Token(NamedTuple):
    kind: str
    text: str

    @property
    def name(self) -> str:
        """A word or quoted name in small letters; '' for anything else."""
        return self.text.strip('"`').lower() if self.kind in ("word", "quoted") else ""


class Answer(NamedTuple):
    """The bytes of a result, and the format that they have."""

    body: bytes
    format: str


class ReadOnlyArchive:
    """A second handle to the chDB folder of this process's archive, which cannot write.

    Use it from the thread that uses the archive. After an error the handle is replaced: what a failed query
    left in it would come before the next answer.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connection: Any = None
        self._refused_functions: set[str] = set()

    def query(self, sql: str, default_format: str, parameters: dict[str, str]) -> Answer:
        """The answer to one statement. Raises `QueryRefused` with ClickHouse's code and message."""
        try:
            connection = self._open()
            tokens = checked(sql, self._refused_functions)
            text = "".join(token.text for token in tokens)
            body = connection.query(text, default_format, params=parameters).bytes()
        except QueryRefused:
            raise
        except (chdb.ChdbError, RuntimeError) as error:
            self.close()
            raise _refused(str(error)) from error
        return Answer(body or b"", _format(tokens) or default_format)

    def close(self) -> None:
        """Closes the handle; the next query opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> Any:
        if self._connection is None:
            connection = chdb.connect(str(self._folder.resolve()))
            try:
                self._prepare(connection)
            except Exception:
                connection.close()
                raise
            self._connection = connection  # not before it is read-only
        return self._connection

    def _prepare(self, connection: Any) -> None:
        connection.query(f"USE {CHDB_DATABASE}")
        listed = connection.query("SELECT lower(name) FROM system.table_functions", "TSV").bytes()
        self._refused_functions = set(listed.decode().split()) - _HARMLESS_TABLE_FUNCTIONS
        connection.query("SET " + ", ".join(f"{name} = '{value}'" for name, value in _LIMITS.items()))


def checked(sql: str, refused_functions: set[str]) -> list[_Token]:
    """The tokens of one reading statement, comments replaced by spaces. Raises `QueryRefused`."""
    tokens = _tokens(sql)
    code = [token for token in tokens if token.kind != "space"]
    if not code:
        raise _own(_SYNTAX_ERROR, "Empty query", "SYNTAX_ERROR")
    if code[0].kind != "word" or code[0].name not in _STATEMENTS:
        raise _own(_READONLY, f"Only {', '.join(sorted(_STATEMENTS)).upper()} are answered here", "READONLY")
    following = [*code[1:], _Token("other", "")]
    for token, after in zip(code, following, strict=True):
        if token.text == ";":
            raise _own(_SYNTAX_ERROR, "Multi-statements are not allowed", "SYNTAX_ERROR")
        called = after.text == "("
        if (
            token.name in _REFUSED_WORDS
            or (called and token.name in refused_functions)
            or _asks_a_model(token)
        ):
            message = f"{token.text} reaches outside the archive, and is not answered here"
            raise _own(_ACCESS_DENIED, message, "ACCESS_DENIED")
    return tokens


def _tokens(sql: str) -> list[_Token]:
    sql = sql.rstrip().rstrip(";")
    tokens, at = [], 0
    while at < len(sql):
        found = _TOKEN.match(sql, at)
        if found is None:
            message = f"Syntax error: failed at position {at + 1}: {sql[at : at + 20]!r} is not accepted here"
            raise _own(_SYNTAX_ERROR, message, "SYNTAX_ERROR")
        tokens.append(_Token(found.lastgroup, " " if found.lastgroup == "space" else found.group()))
        at = found.end()
    return tokens


def _asks_a_model(token: _Token) -> bool:
    """Functions such as aiGenerate send what they are given to a service."""
    return bool(re.match("ai[A-Z]", token.text.strip('"`')))


def _format(tokens: list[_Token]) -> str | None:
    """The format that a statement ends with."""
    words = [token for token in tokens if token.kind != "space"]
    if len(words) > 2 and words[-2].name == "format" and words[-1].kind == "word":
        return words[-1].text
    return None


def _own(code: int, message: str, name: str) -> QueryRefused:
    return QueryRefused(code, f"Code: {code}. DB::Exception: {message}. ({name})")


def _refused(message: str) -> QueryRefused:
    """ClickHouse's error, from its own code on."""
    start = max(message.find("Code: "), 0)
    code = re.match(r"Code: (\d+)", message[start:])
    return QueryRefused(int(code[1]) if code else 0, message[start:].strip())
