"""`points query`: an answer of the archive as a table, as JSON, or in the format that the SQL names."""

import json
import sys

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream.operate.sql import ask, endpoint_of
from stream.settings import load

TABLE_FORMAT = "JSONCompact"


@click.command()
@click.argument("sql")
@click.option("--json", "as_json", is_flag=True, help="For programs: a JSON array with one object a row.")
def query(sql: str, as_json: bool) -> None:
    """Ask the archive. `SHOW TABLES` lists what there is; a FORMAT in the SQL is printed as it comes."""
    wanted = "JSON" if as_json else TABLE_FORMAT
    body, received = ask(endpoint_of(load()), sql, wanted)
    if received != wanted:
        sys.stdout.buffer.write(body)
    elif as_json:
        click.echo(json.dumps(json.loads(body)["data"], ensure_ascii=False, indent=2))
    else:
        _show(json.loads(body))


def _show(answer: dict) -> None:
    names = [column["name"] for column in answer["meta"]]
    numeric = [column["type"].startswith(("Int", "UInt", "Float", "Decimal")) for column in answer["meta"]]
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, highlight=False, width=10_000)  # a file has no width: cut nothing
    table = Table()
    for name, right in zip(names, numeric, strict=True):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in answer["data"]:
        table.add_row(*map(_cell, row))
    needed = console.measure(table, options=console.options.update(width=10_000)).maximum
    if needed <= console.width:
        console.print(table)
    else:  # too wide for a table: one line a column, as in ClickHouse's format Vertical
        for number, row in enumerate(answer["data"], 1):
            console.rule(f"row {number}", align="left")
            for name, value in zip(names, row, strict=True):
                console.print(Text(f"{name}: ", "bold"), _cell(value), sep="")
    console.print(Text(_summary(answer, console.is_terminal), "dim"))


def _summary(answer: dict, with_cost: bool) -> str:
    if not with_cost or "statistics" not in answer:
        return f"{answer['rows']} rows"
    cost = answer["statistics"]
    return f"{answer['rows']} rows; {cost['rows_read']:,} rows read in {cost['elapsed'] * 1000:.0f} ms"


def _cell(value: object) -> Text:
    """A value as text. Control characters are escaped: what an app sent must not steer a terminal."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Text("".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text))
