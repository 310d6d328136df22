"""The one list of what a query may name, read from nameable.toml, which says how a name gets on it."""

import tomllib
from pathlib import Path

TOTALS, PERSONS, OPERATOR = "totals", "persons", "operator"
_LIST = tomllib.loads(Path(__file__).with_name("nameable.toml").read_text())


def _names(section: str, *keys: str) -> frozenset[str]:
    return frozenset(name for key in keys or _LIST[section] for name in _LIST[section][key].split())


TABLES: dict[str, frozenset[str]] = {
    TOTALS: _names("tables", TOTALS),
    PERSONS: _names("tables", TOTALS, PERSONS),
    OPERATOR: _names("tables", TOTALS, PERSONS, OPERATOR),
}
SYSTEM_TABLES = _names("tables", "system")
TABLE_FUNCTIONS = _names("table_functions")
SYNTAX, AGGREGATES = _names("functions", "syntax"), _names("functions", "aggregates")
FUNCTIONS = _names("functions") - SYNTAX
COMBINATORS = tuple(sorted(_names("combinators")))
SETTINGS = _names("settings")
