"""What is made anew at each start from this release's code: the view `verdicts`, and the columns' comments.

All other tables and views are made by the migrations.
"""

import tomllib
from pathlib import Path

from clickhouse_connect.driver.client import Client

from schemas.verdicts import TABLE, Meaning, Verdict

_COMMENTS = tomllib.loads(Path(__file__).with_name("comments.toml").read_text())
_REPEATED = {Verdict.DUPLICATE, Verdict.ALREADY_CLAIMED}


def make_views(client: Client) -> None:
    """Harmless if it was done before, also by another worker at the same time."""
    rows = ", ".join(
        f"({_text(verdict.code)}, {_text(group_of(verdict, meaning))}, {_text(meaning.meaning)})"
        for verdict, meaning in TABLE.items()
    )
    client.command(
        "CREATE OR REPLACE VIEW verdicts AS SELECT code, group, meaning "  # noqa: S608 - our own texts
        f"FROM values('code String, group String, meaning String', {rows})"
    )
    _comment(client)


def group_of(verdict: Verdict, meaning: Meaning) -> str:
    """recorded: a behaviour counts by this row; repeated: it, or its id, counted before; refused: it does not
    count; platform: a row of no record."""
    if meaning.app_should == "-":
        return "platform"
    if verdict in _REPEATED:
        return "repeated"
    return "recorded" if meaning.takes_claim else "refused"


def _comment(client: Client) -> None:
    """Gives each column of a view its comment, if it has not got it: one statement a view."""
    columns = client.query(
        "SELECT t.name, c.name, c.comment FROM system.columns AS c INNER JOIN system.tables AS t "
        "ON t.name = c.table AND t.database = c.database "
        "WHERE c.database = currentDatabase() AND (t.engine = 'View' OR t.name = 'ledger_rows') "
        "ORDER BY t.name, c.position"
    ).result_rows
    of_ledger = {name: comment for table, name, comment in columns if table == "ledger_rows"}
    missing: dict[str, list[str]] = {}
    for view, name, present in columns:
        comment = {**of_ledger, **_COMMENTS["any"], **_COMMENTS.get(view, {})}.get(name, "")
        if view != "ledger_rows" and comment != present:
            missing.setdefault(view, []).append(f"COMMENT COLUMN `{name}` {_text(comment)}")
    for view, comments in missing.items():
        client.command(f"ALTER TABLE `{view}` {', '.join(comments)}")


def _text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
