"""The `points` command: it only assembles commands, and shows an operator's errors without a traceback."""

import logging
import sys
import traceback
from importlib import import_module
from importlib.metadata import entry_points

import click

from stream.errors import OperatorError, explained

PYTHON_MIN = (3, 11)

# name -> module:command. Imported when used, so that `points status` does not load a broker's client.
# Packages above this one register theirs in the entry-point group `points.commands`.
COMMANDS = {
    "up": "stream.operate.commands.stack:up",
    "down": "stream.operate.commands.stack:down",
    "keep": "stream.operate.commands.stack:keep",
    "status": "stream.operate.commands.status:status",
    "doctor": "stream.operate.commands.doctor:doctor",
    "app": "stream.operate.commands.app:app",
    "analyst": "stream.operate.commands.analyst:analyst",
    "dead": "stream.operate.commands.dead:dead",
    "topics": "stream.operate.commands.topics:topics",
    "rebuild": "stream.operate.commands.rebuild:rebuild",
    "upgrade": "stream.operate.commands.upgrade:upgrade",
    "worker": "stream.operate.commands.worker:worker",
    "query": "stream.operate.commands.query:query",
    "balance": "stream.operate.commands.balance:balance",
    "send": "stream.operate.commands.send:send",
    "outcomes": "stream.operate.commands.outcomes:outcomes",
}


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(entry_points(group="points.commands").names)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name].partition(":")
            return getattr(import_module(module), attribute)
        for entry_point in entry_points(group="points.commands", name=cmd_name):
            return entry_point.load()
        return None


@click.group(cls=LazyGroup)
def points() -> None:
    """Points ingestion for a carbon-inclusive platform."""


def main() -> None:
    """Run `points`; exit 1 with one message for everything that an operator can put right.

    Only a defect is shown with its traceback, and even then with what to do.
    """
    if sys.version_info < PYTHON_MIN:
        found = ".".join(map(str, sys.version_info[:2]))
        _fail(
            OperatorError(f"points needs Python 3.11 or newer; this is {found}.", "make the venv with one.")
        )
    # What libraries say on their own is in the error, with what to do.
    logging.root.addHandler(logging.NullHandler())
    try:
        points(prog_name="points")
    except Exception as error:
        known = explained(error)
        if known is None:
            traceback.print_exc()
            known = OperatorError(
                "The lines above are a defect of this release.",
                "keep them, and go back to the release before.",
            )
        _fail(known)


def _fail(error: OperatorError) -> None:
    click.secho(error.message, fg="red", err=True)
    click.echo(f"What to do: {error.todo}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
