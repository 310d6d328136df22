"""`points flood`: how long an app waits for its outcomes while another one floods, by kind of flood."""

import json
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
from rich.console import Console
from rich.table import Table

from loadtest.apps import BUS, METRO, QUOTA, with_apps
from loadtest.bench.processes import Workers
from loadtest.bench.result import Machine, this_machine
from loadtest.flood.flooder import REPORTS
from loadtest.flood.probe import INTERVAL_S, Probe
from stream.operate import stack
from stream.operate.platform.onboarding import QUOTA as DEFAULT_QUOTA
from stream.operate.platform.onboarding import app_principal, onboard
from stream.settings import PASSWORD_PREFIX, Settings

SECONDS = 60
P99_LIMIT_MS = 1_000
WARM_UP_S = 12.0  # the first cycles load libraries, and so does the first insert
SETTLE_S = 3.0  # a flood's first seconds are its start
NOBODY = "none"
WITHOUT_QUOTA = "reports, no quota"
KINDS = {
    REPORTS: "valid reports",
    WITHOUT_QUOTA: "valid reports, by an app without a quota",
    "tiny": "empty records, 65,536 in a batch of 54 KiB",
    "large": "records of 16 KiB, 16 MiB in a batch of 5 KiB",
    "rubbish": "records with something wrong in each, 5,000 in a batch",
    "unreadable": "batches that are none, and bombs",
}


class Measured(NamedTuple):
    """What the quiet app saw while the other did what `kind` says."""

    kind: str
    records_s: int
    probes: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


@click.command()
@click.option("--kind", "kinds", type=click.Choice([*KINDS]), multiple=True, help="Repeatable; default: all.")
@click.option(
    "--seconds", type=click.IntRange(5, 600), default=SECONDS, show_default=True, help="Of each flood."
)
@click.option(
    "--repeat", type=click.IntRange(1, 9), default=1, show_default=True, help="Show the median p99 of these."
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the result here, as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def flood(kinds: tuple[str, ...], seconds: int, repeat: int, out: Path | None, as_json: bool) -> None:
    """Measure what a flooding app costs another one; exit 1 if the median p99 of any flood is a second or
    more.

    Each flood has a fresh platform and the default quota. The quiet app sends ten reports a second.
    """
    console, machine = Console(stderr=True), this_machine()
    runs = [
        [_on_fresh_platform(kind, seconds, console) for _ in range(repeat)]
        for kind in (NOBODY, *(kinds or KINDS))
    ]
    result = _result(machine, runs, seconds)
    if out:
        out.write_text(json.dumps(result, indent=2) + "\n")
    if as_json:
        click.echo(json.dumps(result))
    else:
        _show(result["floods"], repeat)
    if any(one["p99_ms"] >= P99_LIMIT_MS for one in result["floods"]):
        sys.exit(1)


def _on_fresh_platform(kind: str, seconds: int, console: Console) -> Measured:
    """One flood. What it leaves undecided would be the next one's, so it has a platform of its own."""
    home = Path(tempfile.mkdtemp(prefix="points-flood-"))
    try:
        with console.status("starting the stack") as line, Workers(home) as workers:
            settings = with_apps(stack.up(home, {}, line.update), (METRO, BUS), line.update)
            for name in ("intake", "intake-2", "archive"):
                workers.start(name, "stream.cli", "worker", name.removesuffix("-2"))
            with closing(Probe(settings)) as probe:
                line.update("waiting for the first outcomes")
                probe.latencies_s(WARM_UP_S)
                line.update(f"{METRO.id} floods: {KINDS.get(kind, 'nobody does')}")
                if kind == NOBODY:
                    found = _measured(kind, 0, probe.latencies_s(seconds))
                else:
                    found = _flooded(settings, workers, probe, kind, seconds)
    finally:
        stack.down(home)
    shutil.rmtree(home)
    return found


def _flooded(settings: Settings, workers: Workers, probe: Probe, kind: str, seconds: int) -> Measured:
    settings = onboard(settings, METRO, QUOTA if kind == WITHOUT_QUOTA else DEFAULT_QUOTA)
    user = app_principal(METRO.id)
    variable = PASSWORD_PREFIX + user.upper().replace("-", "_")
    lasts_s = seconds + SETTLE_S
    what = REPORTS if kind == WITHOUT_QUOTA else kind
    password = {variable: settings.password(user)}
    workers.start("flood", "loadtest.flood.flooder", what, str(lasts_s), **password)
    time.sleep(SETTLE_S)
    found = probe.latencies_s(seconds)
    taken = json.loads(workers.last_words("flood", 60))["taken"]
    workers.check()
    return _measured(kind, int(taken / lasts_s), found)


def _measured(kind: str, records_s: int, latencies_s: list[float]) -> Measured:
    ordered = sorted(latencies_s)

    def share(part: float) -> float:
        return round(1000 * ordered[min(len(ordered) - 1, int(part * len(ordered)))], 1)

    return Measured(kind, records_s, len(ordered), share(0.5), share(0.99), share(1))


def _median(measured: list[Measured]) -> Measured:
    """The run whose p99 is the median of all; of an even number the worse one of the two."""
    p99_ms = statistics.median_high(one.p99_ms for one in measured)
    return next(one for one in measured if one.p99_ms == p99_ms)


def _result(machine: Machine, runs: list[list[Measured]], seconds: int) -> dict:
    return {
        "machine": msgspec.to_builtins(machine),
        "seconds": seconds,
        "probe_interval_s": INTERVAL_S,
        "floods": [_median(measured)._asdict() for measured in runs],
        "runs": [one._asdict() for measured in runs for one in measured],
    }


def _show(floods: list[dict], repeat: int) -> None:
    title = f"{BUS.id}: from a report to its outcome, while {METRO.id} floods"
    table = Table(title=title + (f" (of {repeat} runs the one with the median p99)" if repeat > 1 else ""))
    for heading in ("flood", "records/s", "probes", "p50 ms", "p99 ms", "worst ms"):
        table.add_column(heading, justify="left" if heading == "flood" else "right")
    for one in floods:
        p99_ms = f"{one['p99_ms']:,.0f}"
        table.add_row(
            one["kind"],
            f"{one['records_s']:,}",
            f"{one['probes']:,}",
            f"{one['p50_ms']:,.0f}",
            p99_ms if one["p99_ms"] < P99_LIMIT_MS else f"[red]{p99_ms}[/]",
            f"{one['worst_ms']:,.0f}",
        )
    Console().print(table)
