"""The `points` command: it only assembles commands, and shows an operator's errors without a traceback."""

import errno
import sys
from importlib import import_module
from importlib.metadata import entry_points

import click

from stream.errors import OperatorError

PYTHON_MIN = (3, 11)

# name -> module:command. Imported when used, so that `points status` does not load a broker's client.
# Packages above this one register theirs in the entry-point group `points.commands`.
COMMANDS = {
    "up": "stream.commands.stack:up",
    "down": "stream.commands.stack:down",
    "status": "stream.commands.status:status",
    "doctor": "stream.commands.doctor:doctor",
    "app": "stream.commands.app:app",
    "analyst": "stream.commands.analyst:analyst",
    "worker": "stream.commands.worker:worker",
    "query": "stream.commands.query:query",
    "balance": "stream.commands.balance:balance",
    "send": "stream.commands.send:send",
    "outcomes": "stream.commands.outcomes:outcomes",
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
    """Run `points`; exit 1 with one message for everything that an operator can put right."""
    if sys.version_info < PYTHON_MIN:
        found = ".".join(map(str, sys.version_info[:2]))
        _fail(
            OperatorError(f"points needs Python 3.11 or newer; this is {found}.", "make the venv with one.")
        )
    try:
        points(prog_name="points")
    except OperatorError as error:
        _fail(error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        _fail(OperatorError(f"The disk is full{where}.", "free some space and repeat the command."))


def _fail(error: OperatorError) -> None:
    click.secho(error.message, fg="red", err=True)
    click.echo(f"What to do: {error.todo}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
