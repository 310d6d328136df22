"""`points upgrade`: which releases work on the platform, and when what only the newer one knows begins."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import click

from stream.operate.commands.topics import labels

if TYPE_CHECKING:
    from stream.settings import Settings


@click.group()
def upgrade() -> None:
    """See which releases run, and let a new release's format begin. docs/upgrade.md has the whole way."""


@upgrade.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """The format in force in each shard, and the release of each worker that runs."""
    from schemas.block import RELEASE
    from schemas.formats import NEWEST
    from stream.operate.platform import adoption, formats
    from stream.settings import load

    settings = load()
    in_force = formats.in_force(adoption.heads(settings))
    workers = formats.workers(settings)
    if as_json:
        told = {"release": RELEASE, "format": NEWEST, "workers": [w._asdict() for w in workers]}
        click.echo(json.dumps(told | {"in_force": in_force}, indent=2))
        return
    click.echo(f"this release: {RELEASE}, which writes up to format {NEWEST}")
    for number in sorted(set(in_force.values())):
        shards = ", ".join(str(shard) for shard, found in in_force.items() if found == number)
        newer = "; `points upgrade activate` begins the newer one" if number < NEWEST else ""
        click.echo(f"format {number} in force in shards {shards}{newer}")
    for worker in workers:
        click.echo(f"{worker.group} on {worker.host}: release {worker.release or 'not told'}")
    if not workers:
        click.echo("no worker runs")


@upgrade.command()
@click.argument("number", type=click.IntRange(min=1), required=False)
@labels
@click.option("--yes", is_flag=True, help="Do not ask.")
def activate(number: int | None, by: str, approved_by: str, reason: str, yes: bool) -> None:
    """Begin format NUMBER, the newest of this release if none is named, in each shard at its own next row.

    Refused while a worker of another release runs. Behind it there is no way back to a release that does not
    know the format.
    """
    from rich.console import Console

    from schemas.formats import NEWEST
    from stream.operate.platform import adoption, formats
    from stream.operate.platform.commands import Labels
    from stream.settings import load

    settings, wanted = load(), number or NEWEST
    if not yes:
        click.confirm(f"There is no way back behind format {wanted}. Go on?", abort=True, err=True)
    offsets = formats.activate(settings, wanted, Labels(by=by, approved_by=approved_by, reason=reason))
    with Console(stderr=True).status("waiting until every shard writes it"):
        behind = adoption.wait_decided(settings, offsets)
    if behind:
        shards = ", ".join(map(str, behind))
        click.echo(f"format {wanted} begins in shards {shards} once an intake worker runs them")
    else:
        click.echo(f"format {wanted} is in force in every shard")


@upgrade.command()
@click.option("--dry-run", is_flag=True, help="Say what would be dropped; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def finish(dry_run: bool, yes: bool) -> None:
    """Drop what other releases keep in Redis, once no worker of theirs will come back.

    Not while one of them runs, and not before this release's own projection is there. A release that comes
    back all the same loses nothing: it builds its projection from the ledger again.
    """
    from sinks.fingerprint import FINGERPRINT
    from stream.settings import load

    settings = load()
    found, shares = asyncio.run(_found(settings))
    for name in sorted(found):
        click.echo(f"projection {name} of another release: about {shares.get(name, 0):.0%} of Redis's keys")
    if not found:
        click.echo(f"Redis holds no projection but {FINGERPRINT}, this release's; nothing to drop")
        return
    if dry_run:
        return
    if not yes:
        click.confirm("A release that comes back must build its own again. Drop?", abort=True, err=True)
    click.echo(f"dropped: {asyncio.run(_drop(settings, found)):,} keys")


async def _found(settings: Settings) -> tuple[set[str], dict[str, float]]:
    from sinks.fingerprint import FINGERPRINT
    from stream.operate.projection import open_projection

    async with open_projection(settings) as store:
        return await store.projections() - {FINGERPRINT}, await store.shares()


async def _drop(settings: Settings, found: set[str]) -> int:
    from rich.console import Console

    from sinks.fingerprint import FINGERPRINT
    from stream.engine.projections import Worker, drop_others
    from stream.operate import projections
    from stream.operate.platform import formats

    gone = 0
    workers = [Worker(w.host, w.projection) for w in formats.workers(settings) if w.group == "intake"]
    with Console(stderr=True).status("dropping") as line:

        def dropped(name: str, shard: int, keys: int) -> None:
            nonlocal gone
            gone += keys
            line.update(f"projection {name}, shard {shard}: {gone:,} keys")

        async with projections.stores(settings) as store_of:
            await drop_others(FINGERPRINT, found, workers, store_of, settings.shards, dropped)
    return gone
