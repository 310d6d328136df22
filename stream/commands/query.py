"""`points query`: SQL against the archive, that is its worker's endpoint or a real ClickHouse."""

import http.client
import json
import sys
from typing import NamedTuple
from urllib.parse import unquote, urlencode, urlsplit

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream.errors import OperatorError
from stream.settings import Settings, load

TIMEOUT_S = 60
TABLE_FORMAT = "JSONCompact"
_UNKNOWN_TABLE = "60"


class Endpoint(NamedTuple):
    """Where to ask: a server, the query string that goes with every query, and the login."""

    secure: bool
    host: str
    port: int
    arguments: dict[str, str]
    headers: dict[str, str]


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


def endpoint_of(settings: Settings) -> Endpoint:
    """The archive worker's endpoint; with a real ClickHouse, ClickHouse itself."""
    if settings.query_url:
        url = urlsplit(settings.query_url)
        login = {"X-ClickHouse-User": "operator", "X-ClickHouse-Key": settings.query_token}
        return Endpoint(False, url.hostname, url.port, {}, login)
    url = urlsplit(settings.clickhouse_dsn)
    port = url.port or 8123
    login = {
        "X-ClickHouse-User": unquote(url.username or ""),
        "X-ClickHouse-Key": unquote(url.password or ""),
    }
    arguments = {"database": url.path.strip("/") or "default", "readonly": "1"}
    return Endpoint(port in (443, 8443), url.hostname, port, arguments, login)


def ask(endpoint: Endpoint, sql: str, wanted_format: str) -> tuple[bytes, str]:
    """The answer, and its format: `wanted_format` unless the SQL names another. Raises OperatorError."""
    connect = http.client.HTTPSConnection if endpoint.secure else http.client.HTTPConnection
    connection = connect(endpoint.host, endpoint.port, timeout=TIMEOUT_S)
    arguments = urlencode({**endpoint.arguments, "default_format": wanted_format})
    try:
        connection.request("POST", f"/?{arguments}", sql.encode(), endpoint.headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        where = f"{endpoint.host}:{endpoint.port}"
        remedy = "start it with: points worker archive." if not endpoint.arguments else "see that it runs."
        raise OperatorError(f"The archive does not answer at {where} ({error}).", remedy) from error
    finally:
        connection.close()
    if response.status != 200:
        raise _refused(
            response.getheader("X-ClickHouse-Exception-Code"), body.decode(errors="replace").strip()
        )
    return body, response.getheader("X-ClickHouse-Format", wanted_format)


def _refused(code: str | None, message: str) -> OperatorError:
    if code == "516":
        return OperatorError(message, "use the settings of the stack whose archive worker this is.")
    todo = (
        "`points query 'SHOW TABLES'` lists what there is." if code == _UNKNOWN_TABLE else "correct the SQL."
    )
    return OperatorError(message, todo)


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
