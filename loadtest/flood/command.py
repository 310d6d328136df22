"""`points flood`: how long an app waits for its outcomes while another floods, with and without quota."""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.table import Table

from loadtest.apps import BUS, METRO, QUOTA, with_apps
from loadtest.bench.processes import Workers
from loadtest.flood.probe import Probe
from stream.embedded import stack
from stream.platform.kafka_quota import Quota
from stream.platform.onboarding import QUOTA as DEFAULT_QUOTA
from stream.platform.onboarding import app_principal, onboard
from stream.settings import PASSWORD_PREFIX, Settings

SECONDS = 20
FLOOD_RECORDS = 400_000  # without a quota: more than half a minute's work for a core
P99_LIMIT_MS = 500
WARM_UP_S = 12.0  # the first cycles load libraries, and so does the first insert
SETTLE_S = 3.0  # a flood's first seconds are its start


class Phase(NamedTuple):
    """What the quiet app saw while the other did what `flood` says."""

    flood: str
    flooded_per_s: int
    reports: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


@click.command()
@click.option("--seconds", type=click.IntRange(5, 120), default=SECONDS, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def flood(seconds: int, as_json: bool) -> None:
    """Measure what a flooding app costs another; exit 1 if the default quota does not keep its p99 low."""
    console = Console(stderr=True)
    home = Path(tempfile.mkdtemp(prefix="points-flood-"))
    try:
        phases = _measured(home, seconds, console)
    finally:
        stack.down(home)
    shutil.rmtree(home)
    if as_json:
        click.echo(json.dumps([phase._asdict() for phase in phases]))
    else:
        _show(phases)
    if phases[-1].p99_ms >= P99_LIMIT_MS:
        sys.exit(1)


def _measured(home: Path, seconds: int, console: Console) -> list[Phase]:
    with console.status("starting the stack") as line, Workers(home) as workers:
        settings = with_apps(stack.up(home, {}, line.update), (METRO, BUS), line.update)
        for name in ("intake", "intake-2", "archive"):
            workers.start(name, "stream.cli", "worker", name.removesuffix("-2"))
        probe = Probe(settings)
        try:
            line.update("waiting for the first outcomes")
            probe.latencies_s(WARM_UP_S)
            line.update("nobody floods")
            phases = [_phase("none", 0, probe.latencies_s(seconds))]
            for name, quota in (("default quota", DEFAULT_QUOTA), ("no quota", QUOTA)):
                line.update(f"{METRO.id} floods, {name}")
                phases.append(_flooded(settings, workers, probe, name, quota, seconds))
                probe.wait_until_quiet()
        finally:
            probe.close()
    return [phases[0], phases[2], phases[1]]


def _flooded(
    settings: Settings, workers: Workers, probe: Probe, name: str, quota: Quota, seconds: int
) -> Phase:
    settings = onboard(settings, METRO, quota)
    user = app_principal(METRO.id)
    variable = PASSWORD_PREFIX + user.upper().replace("-", "_")
    lasts_s = seconds + SETTLE_S
    arguments = ("loadtest.flood.flooder", str(lasts_s), str(FLOOD_RECORDS))
    workers.start("flood", *arguments, **{variable: settings.password(user)})
    time.sleep(SETTLE_S)
    found = probe.latencies_s(seconds)
    taken = json.loads(workers.last_words("flood", 60))["taken"]
    return _phase(name, int(taken / lasts_s), found)


def _phase(flood_name: str, flooded_per_s: int, latencies_s: list[float]) -> Phase:
    ordered = sorted(latencies_s)

    def share(part: float) -> float:
        return round(1000 * ordered[min(len(ordered) - 1, int(part * len(ordered)))], 1)

    return Phase(flood_name, flooded_per_s, len(ordered), share(0.5), share(0.99), share(1))


def _show(phases: list[Phase]) -> None:
    alone = phases[0].p99_ms
    table = Table(title=f"{BUS.id}: from a report to its outcome, while {METRO.id} floods")
    for heading in ("flood", "flooded/s", "reports", "p50 ms", "p99 ms", "worst ms", "p99, times alone"):
        table.add_column(heading, justify="left" if heading == "flood" else "right")
    for phase in phases:
        table.add_row(
            phase.flood,
            f"{phase.flooded_per_s:,}",
            f"{phase.reports:,}",
            f"{phase.p50_ms:,.0f}",
            f"{phase.p99_ms:,.0f}",
            f"{phase.worst_ms:,.0f}",
            f"{phase.p99_ms / alone:,.1f}",
        )
    console = Console()
    console.print(table)
    kept = phases[-1].p99_ms < P99_LIMIT_MS
    console.print(
        f"under the default quota ({DEFAULT_QUOTA.produce_bytes_s >> 10} KiB/s) the p99 is "
        + (f"below {P99_LIMIT_MS} ms" if kept else f"[red]not below {P99_LIMIT_MS} ms[/]")
    )
