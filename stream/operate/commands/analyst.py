"""`points analyst`: who may ask the embedded archive beside the operator, and how much of it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click

from stream.errors import OperatorError
from stream.settings import load

if TYPE_CHECKING:
    from stream.settings import Settings


@click.group()
def analyst() -> None:
    """Let analysts ask the archive, each with a password of its own."""


@analyst.command()
@click.argument("name")
@click.option(
    "--sees",
    type=click.Choice(["totals", "persons"]),
    required=True,
    help="totals: views in which nobody can be told apart; persons: all views.",
)
def add(name: str, sees: str) -> None:
    """Add the analyst NAME; the password is shown once."""
    from stream.query import analysts

    settings = _embedded()
    _show(settings, name, analysts.add(settings.home, name, sees))


@analyst.command()
@click.argument("name")
def rotate(name: str) -> None:
    """Give the analyst NAME a new password; the old one ends at once."""
    from stream.query import analysts

    settings = _embedded()
    _show(settings, name, analysts.rotate(settings.home, name))


@analyst.command()
@click.argument("name")
def remove(name: str) -> None:
    """Let the analyst NAME ask no more."""
    from stream.query import analysts

    analysts.remove(_embedded().home, name)
    click.echo(f"{name} may ask no more.")


@analyst.command("list")
def list_() -> None:
    """Show all analysts, what each sees, and since when the password holds."""
    from stream.query import analysts

    found = analysts.read(_embedded().home)
    for name, one in sorted(found.items()):
        since = datetime.fromtimestamp(one.since_s, ZoneInfo("Asia/Shanghai"))
        click.echo(f"{name}  sees {one.sees}, since {since:%Y-%m-%d %H:%M}")
    if not found:
        click.echo("There is no analyst: points analyst add NAME --sees totals")


def _show(settings: Settings, name: str, password: str) -> None:
    click.echo(f"url       {settings.query_url}")
    click.echo(f"user      {name}")
    click.echo(f"password  {password}")
    click.echo("The password is shown this once; only a hash of it is kept.", err=True)


def _embedded() -> Settings:
    settings = load()
    if settings.query_url is None:
        raise OperatorError(
            "ClickHouse is a server here, and keeps its users itself.",
            "make a user there: CREATE USER name IDENTIFIED BY '...' SETTINGS readonly = 1; then GRANT "
            "SELECT ON the views that docs/analyst.md names.",
        )
    return settings
