"""`points upgrade`: what ends a roll from one release to the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from stream.settings import Settings


@click.group()
def upgrade() -> None:
    """Go from one release to the next."""


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
    from stream.engine.projections import drop_others
    from stream.operate import projections

    gone = 0
    workers = projections.workers(settings)
    with Console(stderr=True).status("dropping") as line:

        def dropped(name: str, shard: int, keys: int) -> None:
            nonlocal gone
            gone += keys
            line.update(f"projection {name}, shard {shard}: {gone:,} keys")

        async with projections.stores(settings) as store_of:
            await drop_others(FINGERPRINT, found, workers, store_of, settings.shards, dropped)
    return gone
