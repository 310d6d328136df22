"""Whether a query names only what is on the list (nameable.toml): functions, tables, databases, all of it.

The names are taken from the tree that the engine's own parser makes of the very text that it will run, see
sql_tree.py. Kinds of nodes are a list, too: one that prints less than it holds, such as APPLY, is not on it.
"""

from typing import NamedTuple

from sinks.clickhouse.errors import QueryRefused
from sinks.clickhouse.nameable import (
    AGGREGATES,
    COMBINATORS,
    FUNCTIONS,
    SYNTAX,
    SYSTEM_TABLES,
    TABLE_FUNCTIONS,
    TABLES,
)
from sinks.clickhouse.sql_tree import Node

DATABASE, SYSTEM = "points", "system"
_QUERIES = {"SelectWithUnionQuery", "SelectIntersectExceptQuery"}
_OF_TABLES = {"ExistsTableQuery", "ExistsViewQuery", "ShowCreateTableQuery", "ShowCreateViewQuery"}
_STATEMENTS = {*_QUERIES, *_OF_TABLES, "DescribeQuery", "Explain"}
_PARTS = {
    *_QUERIES, "ArrayJoin", "Asterisk", "ColumnsExceptTransformer", "ColumnsListMatcher",
    "ColumnsRegexpMatcher", "ColumnsReplaceTransformer", "ColumnsReplaceTransformer::Replacement",
    "ColumnsTransformerList", "ExpressionList", "Function", "Identifier", "InterpolateElement",
    "Literal", "OrderByElement", "QualifiedAsterisk", "QualifiedColumnsListMatcher",
    "QualifiedColumnsRegexpMatcher", "QueryParameter", "SampleRatio", "SelectQuery", "Subquery",
    "TableExpression", "TableIdentifier", "TableJoin", "TablesInSelectQuery",
    "TablesInSelectQueryElement", "WindowDefinition", "WindowListElement", "WithElement",
}  # fmt: skip
_UNKNOWN_TABLE, _UNKNOWN_FUNCTION, _UNKNOWN_DATABASE, _ACCESS_DENIED, _READONLY = 60, 46, 81, 497, 164


class Engine(NamedTuple):
    """What names the engine knows; they do not change while it runs."""

    functions: dict[str, str]  # each name, and what it is an alias of, or itself
    functions_in_small_letters: dict[str, str]  # those that may be written in any letters
    callable_by_name: set[str]  # of functions, those that another one may be given as an argument
    databases: set[str]
    tables: set[str]  # of the database `points`

    def function(self, name: str) -> str:
        """What `name` calls; '' if it is no function of the engine."""
        return self.functions.get(name) or self.functions_in_small_letters.get(name.lower(), "")


class Names:
    """Checks one query for somebody who `sees` totals, persons or what operators see."""

    def __init__(self, engine: Engine, sees: str, subqueries: frozenset[str]) -> None:
        self._engine, self._allowed = engine, TABLES[sees]
        self._subqueries = subqueries
        self.tables: set[str] = set()  # those of the list that were named

    def check(self, tree: Node) -> None:
        """Raises `QueryRefused` for the first name or part that is not on the list."""
        if tree.kind not in _STATEMENTS:
            raise QueryRefused.of(_READONLY, "READONLY", "This kind of statement is not answered here")
        if tree.kind in _QUERIES:
            self._query(tree)
        elif tree.kind in _OF_TABLES:
            self._table(".".join(node.name for node in tree.children), may_be_missing=True)
        else:
            # The first settings of EXPLAIN are its own, such as `indexes = 1`.
            rest = (
                tree.children[1:] if [node.kind for node in tree.children[:1]] == ["Set"] else tree.children
            )
            if not rest:
                raise _not_here("EXPLAIN without a query")
            for node in rest:
                (self._query if tree.kind == "Explain" else self._part)(node)

    def shown(self, database: str) -> None:
        """SHOW TABLES FROM `database`; '' is the present one."""
        self._database(database or DATABASE)

    def _query(self, node: Node) -> None:
        if node.kind not in _QUERIES:
            raise QueryRefused.of(_READONLY, "READONLY", "Only queries can be explained here")
        if any(child.kind in ("Literal", "Identifier") for child in node.children):
            raise _not_here("INTO, or a FORMAT that does not stand last or is quoted,")
        self._part(node)

    def _part(self, node: Node, parent: str = "") -> None:
        if node.kind == "Set":
            raise QueryRefused.of(
                _READONLY, "READONLY", "SETTINGS stand in the URL here, and not in the query"
            )
        if node.kind not in _PARTS:
            raise _not_here(node.kind)
        if node.kind == "Function":
            self._table_function(node) if parent == "TableExpression" else self._function(node)
        elif node.kind == "TableIdentifier":
            self._table(node.name)
        elif node.kind == "Identifier":
            self._identifier(node.name)
        for child in node.children:
            self._part(child, node.kind)

    def _table_function(self, node: Node) -> None:
        if node.name.lower() not in _SMALL_TABLE_FUNCTIONS:
            raise _not_here(f"Table function {node.name}")

    def _function(self, node: Node) -> None:
        called = self._engine.function(node.name)
        if called in FUNCTIONS or node.name in SYNTAX or self._is_aggregate(node.name):
            return
        if called or node.name.lower().startswith("ai"):
            raise _not_here(f"Function {node.name}")
        message = f"Function with name `{node.name}` does not exist"
        raise QueryRefused.of(_UNKNOWN_FUNCTION, "UNKNOWN_FUNCTION", message)

    def _is_aggregate(self, name: str) -> bool:
        while True:
            if self._engine.function(name) in AGGREGATES:
                return True
            suffix = next((suffix for suffix in COMBINATORS if name.endswith(suffix)), None)
            if suffix is None:
                return False
            name = name.removesuffix(suffix)

    def _identifier(self, name: str) -> None:
        """A column, but it could be the table behind IN, or a function as an argument of another one."""
        first, _, rest = name.partition(".")
        if rest and first in self._engine.databases:
            self._table(".".join(name.split(".")[:2]))
        elif first in self._engine.tables and first not in self._allowed:
            raise _not_here(f"Table {first}")
        elif not rest and self._engine.function(name) in self._engine.callable_by_name - FUNCTIONS:
            raise _not_here(f"Name {name}, which is a function's,")

    def _table(self, name: str, may_be_missing: bool = False) -> None:
        database, table = name.split(".", 1) if "." in name else ("", name)
        if not database and name in self._subqueries and name not in self._engine.tables - self._allowed:
            return
        self._database(database or DATABASE)
        allowed = SYSTEM_TABLES if database == SYSTEM else self._allowed
        if table in allowed:
            self.tables.add(table)
        elif table in self._engine.tables or database == SYSTEM:
            raise _not_here(f"Table {name}")
        elif not may_be_missing:
            raise QueryRefused.of(_UNKNOWN_TABLE, "UNKNOWN_TABLE", f"Unknown table {name}")

    def _database(self, name: str) -> None:
        if name in (DATABASE, SYSTEM):
            return
        if name in self._engine.databases:
            raise _not_here(f"Database {name}")
        raise QueryRefused.of(_UNKNOWN_DATABASE, "UNKNOWN_DATABASE", f"Database {name} does not exist")


_SMALL_TABLE_FUNCTIONS = {name.lower() for name in TABLE_FUNCTIONS}


def _not_here(what: str) -> QueryRefused:
    return QueryRefused.of(_ACCESS_DENIED, "ACCESS_DENIED", f"{what} cannot be named here")
