"""`points rebuild redis`: this release's projection, built ahead of the roll."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

    from schemas.state import Head
    from stream.core.apply_all import Step
    from stream.operate.projections import Standing
    from stream.settings import Settings


@click.group()
def rebuild() -> None:
    """Make from the ledger what is made from it."""


@rebuild.command()
def redis() -> None:
    """Build this release's projection in Redis, beside the one in use, before its workers start.

    It disturbs nobody: workers of other releases have keys of their own, those of this one fold the same
    blocks. Broken off, the same command goes on where it stopped.
    """
    from stream.log import configure_log
    from stream.settings import load

    settings = load()
    configure_log()
    asyncio.run(_build(settings))


async def _build(settings: Settings) -> None:
    import time

    from sinks.fingerprint import FINGERPRINT
    from stream.operate import projections

    async with projections.opened(settings) as (store, ledger):
        found = await projections.standings(store, ledger, settings.shards)
        began_s, counted = time.monotonic(), _Counted(found)
        with counted.progress:
            await projections.build(settings, store, ledger, counted.taken)
    took_s = time.monotonic() - began_s
    click.echo(
        f"projection {FINGERPRINT} is at the ledger's end in all {settings.shards} shards:"
        f" {counted.blocks:,} blocks, {counted.rows:,} rows in {took_s:.1f} s"
    )


class _Counted:
    """What was built so far, shown as it grows; the ledger may grow meanwhile."""

    def __init__(self, found: list[Standing]) -> None:
        self.blocks = self.rows = 0
        self._next = {standing.shard: standing.next for standing in found}
        self._ends = {standing.shard: standing.end for standing in found}
        self.progress, self._task = _bar(sum(standing.behind for standing in found))

    def taken(self, shard: int, head: Head, step: Step) -> None:
        self.blocks += len(step.found)
        self.rows += sum(block.rows.num_rows for _, block in step.found)
        self._next[shard] = head.ledger_next
        self._ends[shard] = max(self._ends[shard], head.ledger_next)
        left = sum(self._ends.values()) - sum(self._next.values())
        self.progress.update(
            self._task, completed=self.blocks, total=self.blocks + left, rows=self.rows, blocks=self.blocks
        )


def _bar(blocks: int) -> tuple[Progress, TaskID]:
    """Blocks, rows, rows a second and the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Rows a second since the start."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.fields['rows'] / (task.elapsed or 1):,.0f} rows/s")

    progress = Progress(
        TextColumn("building"),
        BarColumn(bar_width=16),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} blocks, {task.fields[rows]:,} rows"),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
    )
    return progress, progress.add_task("", total=blocks, rows=0)
