"""`points doctor`: what is wrong here, and what to do about it."""

import os
import sys

import click
import msgspec
from rich.console import Console
from rich.markup import escape

COLOURS = {"ok": "green", "warning": "yellow", "fail": "red", "skipped": "dim"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """Check everything a stack needs; exit 1 if a check fails. Shows the settings, never a secret."""
    from stream.operate.doctor import examine

    checks, settings = examine(os.environ)
    if as_json:
        click.echo(msgspec.json.encode({"checks": checks, "settings": settings}))
    else:
        console = Console(file=sys.stdout, soft_wrap=True, highlight=False)
        for check in checks:
            mark = f"[{COLOURS[check.result]}]{check.result:8}[/]"
            console.print(f"{mark}{check.name:14}{escape(check.detail)}")
            if check.todo:
                console.print(f"{'':22}{escape(check.todo)}")
        for name, value in (settings or {}).items():
            console.print(f"[dim]{name:22}{escape(str(value))}[/]")
    if any(check.result == "fail" for check in checks):
        sys.exit(1)
