"""What can be told of an SQL text before the engine parses it: its tokens, and that it is one statement.

What is not understood is refused, so that the engine never reads another text than this. What the statement
names is told by the engine's own parser afterwards (sql_names.py).
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from sinks.clickhouse.errors import QueryRefused

_SYNTAX_ERROR, _READONLY, _ACCESS_DENIED = 62, 164, 497
_STATEMENTS = {"select", "with", "from", "show", "describe", "desc", "explain", "exists"}
_REFUSED_WORDS = {"outfile", "infile"}  # the engine writes the file of a query that it only explains, too
_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|\#[ !][^\n]*|/\*.*?\*/)
      | (?P<string>'(?:[^'\\]|\\.|'')*')
      | (?P<quoted>"[^"\\\x00-\x1f\x7f]*"|`[^`\\\x00-\x1f\x7f]*`)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<other>[0-9]+|[-+*/%<>=!?|@^~&.,:;(){}\[\]])""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_SHOW = re.compile(
    r"show (databases|tables( (from|in) (?P<database>\w+))?)( (not )?i?like string)?( limit \d+)?",
    re.ASCII | re.IGNORECASE,
)


class Token(NamedTuple):
    """A piece of SQL. `kind` is space, string, quoted (a name), word or other."""

    kind: str
    text: str

    @property
    def name(self) -> str:
        """A word or quoted name; '' for anything else."""
        return self.text.strip('"`') if self.kind in ("word", "quoted") else ""

    @property
    def keyword(self) -> str:
        """A word in small letters; '' for anything else, a quoted name included."""
        return self.text.lower() if self.kind == "word" else ""


class Statement(NamedTuple):
    """One statement, comments replaced by blanks. `format` is what it ends with, '' if with none; `text` is
    without it. `verb` is its first word. `subqueries` are the names that WITH gives to queries."""

    text: str
    format: str
    verb: str
    subqueries: frozenset[str]
    shown_database: str | None  # of SHOW TABLES or SHOW DATABASES; None for all other statements

    @property
    def returns_rows_of_a_query(self) -> bool:
        """Whether it may stand in brackets, as SELECT and WITH may and SHOW may not."""
        return self.verb in ("select", "with", "from")


def statement(sql: str) -> Statement:
    """What `sql` says. Raises `QueryRefused`."""
    tokens = checked(sql)
    at = _format_at(tokens)
    code = [token for token in tokens[:at] if token.kind != "space"]
    verb = next(token.keyword for token in code if token.text != "(")
    return Statement(
        "".join(token.text for token in tokens[:at]),
        "" if at is None else tokens[-1].text,
        verb,
        frozenset(_subqueries(code)),
        _shown_database(code),
    )


def check_beginning(sql: str) -> None:
    """Raises `QueryRefused` unless a statement that reads begins so, whatever follows."""
    code = (token for token in _tokens(sql) if token.kind != "space")
    first = next(code, None)
    if first is None:
        raise QueryRefused.of(_SYNTAX_ERROR, "SYNTAX_ERROR", "Empty query")
    bracketed = first.text == "("
    while first is not None and first.text == "(":
        first = next(code, None)
    if first is None or first.keyword not in ({"select", "with"} if bracketed else _STATEMENTS):
        named = ", ".join(sorted(_STATEMENTS)).upper()
        raise QueryRefused.of(_READONLY, "READONLY", f"Only {named} are answered here")


def checked(sql: str) -> list[Token]:
    """The tokens of one reading statement, comments replaced by spaces. Raises `QueryRefused`."""
    check_beginning(sql)
    tokens = list(_tokens(sql))
    code = [token for token in tokens if token.kind != "space"]
    before = Token("other", "")
    for token in code:
        if token.text == ";":
            raise QueryRefused.of(_SYNTAX_ERROR, "SYNTAX_ERROR", "Multi-statements are not allowed")
        if token.keyword in _REFUSED_WORDS or (before.text == ":" and token.keyword == "identifier"):
            message = f"{token.text} is not answered here"
            raise QueryRefused.of(_ACCESS_DENIED, "ACCESS_DENIED", message)
        before = token
    return tokens


def _tokens(sql: str) -> Iterator[Token]:
    sql = sql.rstrip().rstrip(";")
    at = 0
    while at < len(sql):
        found = _TOKEN.match(sql, at)
        if found is None:
            message = f"Syntax error: failed at position {at + 1}: {sql[at : at + 20]!r} is not accepted here"
            raise QueryRefused.of(_SYNTAX_ERROR, "SYNTAX_ERROR", message)
        kind = found.lastgroup or ""
        yield Token(kind, " " if kind == "space" else found.group())
        at = found.end()


def _subqueries(code: list[Token]) -> Iterator[str]:
    """x of `x AS (SELECT`, `x AS MATERIALIZED ((WITH` and so on: only WITH has this form."""
    for at, token in enumerate(code):
        if code[at + 1 : at + 2] and code[at + 1].keyword == "as" and token.name:
            rest = [t for t in code[at + 2 : at + 12] if t.keyword != "materialized"]
            inside = next((t for t in rest if t.text != "("), None)
            if rest and rest[0].text == "(" and inside and inside.keyword in ("select", "with", "from"):
                yield token.name


def _shown_database(code: list[Token]) -> str | None:
    words = ("string" if token.kind == "string" else token.name or token.text for token in code)
    given = _SHOW.fullmatch(" ".join(words))
    return (given["database"] or "") if given else None


def _format_at(tokens: list[Token]) -> int | None:
    """Where FORMAT stands, if the statement ends with FORMAT and a name."""
    while tokens and tokens[-1].kind == "space":
        tokens.pop()
    code = [at for at, token in enumerate(tokens) if token.kind != "space"]
    if len(code) > 2 and tokens[code[-2]].keyword == "format" and tokens[code[-1]].kind == "word":
        return code[-2]
    return None
