"""What an SQL text is, before the engine sees it: one statement that reads the archive, or refused.

The engine refuses to write, but its `file()` reads any file of the machine, `INTO OUTFILE` writes one, and
several statements in a text all run. So a query is first split into tokens: what is not understood is
refused, and only what was understood is handed on.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from sinks.clickhouse.errors import QueryRefused

_SYNTAX_ERROR, _READONLY, _ACCESS_DENIED = 62, 164, 497
_STATEMENTS = {"select", "with", "show", "describe", "desc", "explain", "exists"}
# Not only when called: `arrayMap(file, [...])` reads a file too, and {x:Identifier} can be any name.
_REFUSED_WORDS = {"file", "python", "infile", "outfile", "identifier"}
_FILES_DATABASE = "default"  # chDB's own: its tables are files, and EXISTS would tell which there are
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


class Token(NamedTuple):
    """A piece of SQL. `kind` is space, string, quoted (a name), word or other."""

    kind: str
    text: str

    @property
    def name(self) -> str:
        """A word or quoted name in small letters; '' for anything else."""
        return self.text.strip('"`').lower() if self.kind in ("word", "quoted") else ""


class Statement(NamedTuple):
    """One statement that reads. `format` is what it ends with, '' if with none; `text` is without it."""

    text: str
    format: str

    @property
    def returns_rows_of_a_query(self) -> bool:
        """Whether it may stand in brackets, as SELECT and WITH may and SHOW may not."""
        return self.text.lstrip()[:6].lower().startswith(("select", "with"))


def table_functions_to_refuse(known: set[str]) -> set[str]:
    """Of the engine's table functions, in small letters, those that reach outside or may."""
    return known - _HARMLESS_TABLE_FUNCTIONS


def statement(sql: str, refused_functions: set[str]) -> Statement:
    """What `sql` says. Raises `QueryRefused`."""
    tokens = checked(sql, refused_functions)
    at = _format_at(tokens)
    if at is None:
        return Statement(_text(tokens), "")
    return Statement(_text(tokens[:at]), [token for token in tokens if token.kind != "space"][-1].text)


def check_beginning(sql: str) -> None:
    """Raises `QueryRefused` unless a statement that reads begins so, whatever follows."""
    first = next((token for token in _tokens(sql) if token.kind != "space"), None)
    if first is None:
        raise QueryRefused.of(_SYNTAX_ERROR, "SYNTAX_ERROR", "Empty query")
    if first.kind != "word" or first.name not in _STATEMENTS:
        named = ", ".join(sorted(_STATEMENTS)).upper()
        raise QueryRefused.of(_READONLY, "READONLY", f"Only {named} are answered here")


def checked(sql: str, refused_functions: set[str]) -> list[Token]:
    """The tokens of one reading statement, comments replaced by spaces. Raises `QueryRefused`."""
    check_beginning(sql)
    tokens = list(_tokens(sql))
    code = [token for token in tokens if token.kind != "space"]
    following = [*code[1:], Token("other", "")]
    for token, after in zip(code, following, strict=True):
        if token.text == ";":
            raise QueryRefused.of(_SYNTAX_ERROR, "SYNTAX_ERROR", "Multi-statements are not allowed")
        if _reaches_outside(token, after.text, refused_functions):
            message = f"{token.text} reaches outside the archive, and is not answered here"
            raise QueryRefused.of(_ACCESS_DENIED, "ACCESS_DENIED", message)
    return tokens


def _reaches_outside(token: Token, after: str, refused_functions: set[str]) -> bool:
    return (
        token.name in _REFUSED_WORDS
        or (after == "(" and token.name in refused_functions)
        or (after == "." and token.name == _FILES_DATABASE)
        or bool(re.match("ai[A-Z]", token.text.strip('"`')))  # aiGenerate and its like ask a service
    )


def _tokens(sql: str) -> Iterator[Token]:
    sql = sql.rstrip().rstrip(";")
    at = 0
    while at < len(sql):
        found = _TOKEN.match(sql, at)
        if found is None:
            message = f"Syntax error: failed at position {at + 1}: {sql[at : at + 20]!r} is not accepted here"
            raise QueryRefused.of(_SYNTAX_ERROR, "SYNTAX_ERROR", message)
        yield Token(found.lastgroup, " " if found.lastgroup == "space" else found.group())
        at = found.end()


def _text(tokens: list[Token]) -> str:
    return "".join(token.text for token in tokens)


def _format_at(tokens: list[Token]) -> int | None:
    """Where FORMAT stands, if the statement ends with FORMAT and a name."""
    code = [at for at, token in enumerate(tokens) if token.kind != "space"]
    if len(code) > 2 and tokens[code[-2]].kind == "word" and tokens[code[-2]].name == "format":
        return code[-2] if tokens[code[-1]].kind == "word" else None
    return None
