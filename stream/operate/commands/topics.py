"""`points topics`: where the sources of all shards stand, and how one goes on that stopped."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from stream.operate.platform.adoption import Standing
    from stream.operate.platform.commands import Labels
    from stream.settings import Settings


def labels(command):
    """The options of whatever is said to shards: who gave the command, who approved it, why."""
    command = click.option("--reason", default="", help="Why: kept in the ledger.")(command)
    command = click.option("--approved-by", default="", help="Who approved it: kept in the ledger.")(command)
    return click.option("--by", default="", help="Who says so: kept in the ledger.")(command)


@click.group()
def topics() -> None:
    """See the topics that are read, and let one go on that was made again or lost records."""


@topics.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def list_topics(as_json: bool) -> None:
    """Every source by shard: its id, where the shard stands, and whether it can go on."""
    from schemas.topics import topic_specs
    from stream.operate.platform import adoption, kafka_admin
    from stream.settings import load

    settings = load()
    heads = adoption.heads(settings)
    with kafka_admin.told_to_operator(settings):
        admin = kafka_admin.admin_client(settings)
        apps = kafka_admin.apps_with_topics(admin)
        differences = kafka_admin.topic_differences(admin, topic_specs(settings.shards, apps))
    names = sorted({*adoption.sources_of(heads), *(f"intake.{app}" for app in apps)})
    found = adoption.standings(settings, heads, names)
    if as_json:
        click.echo(json.dumps([s._asdict() | {"state": s.state} for s in found], indent=2))
        return
    _print(found)
    for difference in differences:
        if difference.surplus:
            click.secho(difference.text, fg="yellow")


@topics.command()
@click.argument("topic", metavar="TOPIC")
@labels
@click.option("--dry-run", is_flag=True, help="Say what would be lost; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def adopt(topic: str, by: str, approved_by: str, reason: str, dry_run: bool, yes: bool) -> None:
    """Read TOPIC on with what is there now, in each shard whose source stopped.

    What it lost is one row a shard with its range of offsets, verdict deleted_unread, and the app is told. A
    topic that is missing is made first.
    """
    from schemas.topics import COMMANDS
    from stream.errors import OperatorError
    from stream.operate.platform import adoption
    from stream.settings import load

    settings = load()
    heads = adoption.heads(settings)
    if topic not in adoption.sources_of(heads):
        raise OperatorError(f"{topic} is no source.", "`points topics list` shows those that there are.")
    found = adoption.standings(settings, heads, [topic])
    if any(s.state == adoption.MISSING for s in found):
        if dry_run:
            click.echo(f"{topic} is missing: it would be made, and begin at offset 0 in every shard")
            return
        adoption.make_missing(settings, topic)
        click.echo(f"{topic} was missing: it is made")
        found = adoption.standings(settings, heads, [topic])
    needing = adoption.stopped(found)
    for s in needing:
        click.echo(f"shard {s.shard}: {s.state}; goes on at offset {s.first} of {s.topic_id}; lost: {s.lost}")
    if not needing:
        click.echo(f"{topic} goes on in every shard; nothing to adopt")
        return
    if topic == COMMANDS:
        click.echo(
            "what commands holds in these shards is deleted, and apps that they do not know are told again"
        )
    if dry_run:
        return
    if not yes:
        click.confirm("What is lost is lost for good. Go on?", abort=True, err=True)
    said: Labels = {"by": by, "approved_by": approved_by, "reason": reason}
    adoptions = adoption.adopt(settings, needing, said)
    if topic == COMMANDS:
        _repeat_registry(settings, said)
    _print_in_force(settings, topic, adoptions)


def _repeat_registry(settings: Settings, said: Labels) -> None:
    from stream.operate.platform import adoption

    repeated, unlike = adoption.repeat_registry(settings, said)
    if repeated:
        click.echo(f"told again: {', '.join(repeated)}")
    for app in unlike:
        click.secho(
            f"shards know {app} differently: say what it is by `points app change {app}`", fg="yellow"
        )
    click.echo(
        "What was said and not read is lost: see with `points app list` whether each app is as it should be,"
    )
    click.echo("and repeat any other command that was given since.")


def _print_in_force(settings: Settings, topic: str, adoptions: dict) -> None:
    from rich.console import Console

    from stream.operate.platform import adoption

    with Console(stderr=True).status("waiting until every shard goes on"):
        behind = adoption.wait_in_force(settings, adoptions)
    if behind:
        shards = ", ".join(map(str, behind))
        click.echo(
            f"{topic} goes on in shards {shards} once an intake worker runs them (`points worker intake`)"
        )
    else:
        click.echo(f"{topic} goes on in every shard")


def _print(found: list[Standing]) -> None:
    from rich.console import Console
    from rich.table import Table

    from stream.operate.platform.adoption import GOES_ON

    table = Table("topic", "id")
    for heading in ("shard", "next", "first", "end"):
        table.add_column(heading, justify="right")
    table.add_column("state", overflow="fold")
    for s in found:
        state = s.state if s.state == GOES_ON else f"[yellow]{s.state}[/]"
        table.add_row(s.topic, s.topic_id, str(s.shard), str(s.due), str(s.first), str(s.end), state)
    Console(file=sys.stdout).print(table)
