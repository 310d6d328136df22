"""`points bench`: how fast a full queue is drained on this machine, or how long a report waits at a steady
rate; exact to the last record."""

import asyncio
import datetime as dt
import shutil
import sys
import tempfile
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from loadtest.apps import BUS, METRO, with_apps
from loadtest.bench.drain import Drained, drain, reach_archived, start_workers
from loadtest.bench.open_loop import WARM_UP_S, run_paced
from loadtest.bench.peer_run import run_peer
from loadtest.bench.preload import end_offsets, preload
from loadtest.bench.processes import Workers
from loadtest.bench.reports import APPS, Load
from loadtest.bench.result import (
    OpenLoop,
    Result,
    drain_of,
    open_loop_of,
    peer_of,
    show,
    show_open_loop,
    this_machine,
)
from loadtest.bench.verify import differences
from schemas.report import SHANGHAI
from schemas.topics import intake_topic
from stream.operate import stack
from stream.operate.platform.onboarding import app_principal
from stream.operate.sql import endpoint_of
from stream.settings import Settings

RECORDS, QUICK_RECORDS, PEER_RECORDS = 2_000_000, 400_000, 20_000
SEED = 20_240_907


@click.command()
@click.option("--quick", is_flag=True, help=f"{QUICK_RECORDS:,} records instead of {RECORDS:,}.")
@click.option("--records", type=click.IntRange(1_000, 20_000_000), help="This many records.")
@click.option(
    "--rate",
    type=click.IntRange(len(APPS), 100_000),
    help="Instead of a full queue: so many records a second in an open loop, each timed to its outcome.",
)
@click.option(
    "--seconds", type=click.IntRange(5, 3_600), default=60, show_default=True, help="Of the open loop."
)
@click.option("--intake-workers", type=click.IntRange(1, 4), default=2, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For programs: the result as JSON on stdout.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the JSON here.")
def bench(
    quick: bool,
    records: int | None,
    rate: int | None,
    seconds: int,
    intake_workers: int,
    as_json: bool,
    out: Path | None,
) -> None:
    """Drain a full queue through a fresh embedded stack, and compare with a plain Faust + Redis agent; or,
    with --rate, see how long reports wait for their outcomes.

    Exits with 1 if ledger, Redis or ClickHouse do not have the totals that the generator knows.
    """
    count = records or (QUICK_RECORDS if quick else RECORDS)
    console = Console(stderr=True) if as_json else Console()
    home = Path(tempfile.mkdtemp(prefix="points-bench-"))
    try:
        result: Result | OpenLoop
        if rate:
            result = _paced(home, rate, seconds, intake_workers, console)
        else:
            result = _measured(home, count, intake_workers, console)
    except BaseException:
        console.print(f"the stack's data stays in {home}")
        raise
    finally:
        stack.down(home)
    encoded = msgspec.json.format(msgspec.json.encode(result), indent=2)
    if out:
        out.write_bytes(encoded + b"\n")
    if as_json:
        click.echo(encoded)
    if isinstance(result, OpenLoop):
        show_open_loop(result, console)
    else:
        show(result, console)
    if result.differences:
        console.print(f"the stack's data stays in {home}")
        sys.exit(1)
    shutil.rmtree(home)


def _measured(home: Path, count: int, intake_workers: int, console: Console) -> Result:
    machine = this_machine()
    today = dt.datetime.now(SHANGHAI).date()
    load, peer_load = Load(count, SEED, today), Load(PEER_RECORDS, SEED, today)
    with _progress(console) as progress, Workers(home) as workers:
        settings = _started(home, progress)
        drained = _drained(settings, workers, load, intake_workers, progress)
        found = asyncio.run(differences(settings, load.totals()))
        task = progress.add_task("fill the plain agent's topic", total=PEER_RECORDS)
        peer = run_peer(settings, workers, peer_load, lambda sent: progress.advance(task, sent))
    ours = drain_of(drained, count, load.totals().verdicts, intake_workers)
    plain = peer_of(peer, PEER_RECORDS)
    return Result(
        today.isoformat(),
        SEED,
        machine,
        ours,
        plain,
        round(ours.records_per_s / plain.records_per_s, 1),
        found + peer.differences,
    )


def _paced(home: Path, rate: int, seconds: int, intake_workers: int, console: Console) -> OpenLoop:
    machine, today = this_machine(), dt.datetime.now(SHANGHAI).date()
    load = Load(int(rate * (WARM_UP_S + seconds)), SEED, today)
    with _progress(console) as progress, Workers(home) as workers:
        settings = _started(home, progress)
        asyncio.run(start_workers(endpoint_of(settings), settings.shards, workers, intake_workers))
        sending = progress.add_task(f"send {rate:,} a second", total=len(load))
        paced = run_paced(settings, workers, load, rate, lambda sent: progress.advance(sending, sent))
        progress.update(sending, completed=len(load))
        asyncio.run(reach_archived(endpoint_of(settings), settings.shards, workers, len(load)))
        found = asyncio.run(differences(settings, load.totals()))
    return open_loop_of(paced, today.isoformat(), SEED, machine, rate, intake_workers, found)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _started(home: Path, progress: Progress) -> Settings:
    """A fresh stack with the load's apps."""
    starting = progress.add_task("start the stack", total=1)

    def say(message: str) -> None:
        progress.update(starting, description=f"stack: {message}")

    settings = with_apps(stack.up(home, {}, say), (METRO, BUS), say)
    progress.update(starting, description="start the stack", completed=1)
    return settings


def _drained(
    settings: Settings, workers: Workers, load: Load, intake_workers: int, progress: Progress
) -> Drained:
    filling = progress.add_task("fill the intake topics", total=len(load))
    destinations = {app: (app_principal(app), intake_topic(app)) for app in APPS}
    preload(settings.librdkafka, load.records(), destinations, lambda sent: progress.advance(filling, sent))
    progress.update(filling, completed=len(load))
    draining = progress.add_task("drain", total=len(load))
    ends = end_offsets(settings, map(intake_topic, APPS))
    return asyncio.run(
        drain(settings, workers, ends, intake_workers, lambda done: progress.update(draining, completed=done))
    )
