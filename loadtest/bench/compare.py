"""`python -m loadtest.bench.compare --other CHECKOUT`: two trees drain the same full queues, in turns.

Each is driven from here, run by its own `.venv`, through what both have in common: the commands `points up`,
`points app add` and `points worker`, the apps' topics, the archive's endpoint. CPU is taken from when
WARM_UP_RECORDS are told to their apps, or archived, to the last archived row: no start, no warm-up is in it.
"""

import asyncio
import datetime as dt
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import msgspec
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Partition
from rich.console import Console
from rich.table import Table

from loadtest.apps import BUS, METRO
from loadtest.bench.command import SEED
from loadtest.bench.drain import reach, reach_archived, start_workers
from loadtest.bench.preload import preload
from loadtest.bench.processes import Workers
from loadtest.bench.reports import Load
from loadtest.bench.result import Machine, this_machine
from loadtest.bench.verify import archive_differences
from loadtest.environment import inherited
from schemas.kinds.app import App
from schemas.report import SHANGHAI
from schemas.topics import intake_topic, outcomes_topic
from stream.errors import OperatorError
from stream.operate.sql import Endpoint

WARM_UP_RECORDS = 100_000
COMMAND_TIMEOUT_S = 180
QUOTA_KIB_S = 1 << 20
THIS, OTHER = "this", "other"
ROOT = Path(__file__).parents[2]


class Run(msgspec.Struct, frozen=True):
    """One drain: figures from the warm-up to the last archived row, each process's by the records that it had
    still to do (`records`): the archive follows the intake at some distance. `commit` is the tree's."""

    tree: str
    commit: str
    records: dict[str, int]
    records_per_s: float  # decided and archived, from the warm-up on
    cpu_us_per_record: dict[str, float]
    cpu_us_per_record_in_all: float
    differences: list[str]


class Comparison(msgspec.Struct, frozen=True):
    """All runs in order; of each tree the run with the median CPU; this tree's figures by the other's."""

    date: str
    machine: Machine
    runs: list[Run]
    medians: dict[str, Run]
    cpu_ratio: float
    rate_ratio: float


class Site:
    """An embedded stack in `home`, run by the tree in `root`."""

    def __init__(self, root: Path, home: Path) -> None:
        self.python, self._home = root / ".venv" / "bin" / "python", home
        self._credentials: dict[str, dict[str, str]] = {}
        self._consumers: dict[str, Consumer] = {}

    def up(self) -> None:
        """Starts the services and registers the load's apps."""
        self._points("up")
        self._credentials = {app.id: self._added(app) for app in (METRO, BUS)}
        self._consumers = {
            app: Consumer({**self.client(app), "group.id": f"app-{app}", "log_level": 0})
            for app in self._credentials
        }
        said = json.loads((self._home / "stack.json").read_bytes())
        self.shards = said["shards"]
        login = {"X-ClickHouse-User": "operator", "X-ClickHouse-Key": said["query_token"]}
        self.endpoint = Endpoint(False, "127.0.0.1", said["ports"]["query"], {}, login)

    def client(self, app: str) -> dict:
        """How librdkafka logs in as an app."""
        said = self._credentials[app]
        return {
            "bootstrap.servers": said["KAFKA_BOOTSTRAP"],
            "security.protocol": said["KAFKA_SECURITY"],
            "sasl.mechanism": said["KAFKA_MECHANISM"],
            "sasl.username": said["KAFKA_USER"],
            "sasl.password": said["KAFKA_PASSWORD"],
        }

    async def told(self) -> int:
        """How many records have their outcome."""
        return sum(
            consumer.get_watermark_offsets(Partition(outcomes_topic(app), shard), COMMAND_TIMEOUT_S)[1]
            for app, consumer in self._consumers.items()
            for shard in range(self.shards)
        )

    def down(self) -> None:
        """Stops the services."""
        for consumer in self._consumers.values():
            consumer.close()
        self._points("down")

    def _added(self, app: App) -> dict[str, str]:
        granted = [f"--methodology={name}" for name in app.methodologies]
        quota = f"--quota-kib-s={QUOTA_KIB_S}"
        said = self._points("app", "add", app.id, "--operator", app.operator, *granted, quota, "--json")
        return json.loads(said)["credentials"]

    def _points(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(self.python), "-m", "stream.cli", *arguments],
            env=inherited() | {"POINTS_HOME": str(self._home)},
            cwd=self._home,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise OperatorError(f"`points {arguments[0]}` failed: {done.stderr.strip()}", "do what it says.")
        return done.stdout


async def drain(tree: str, root: Path, load: Load, intake_workers: int) -> Run:
    """A fresh stack, its queues filled and drained. Raises OperatorError if it stands still."""
    home = Path(tempfile.mkdtemp(prefix="points-compare-"))
    site = Site(root, home)
    try:
        site.up()
        with Workers(home, site.python) as workers:
            routes = {app.id: (app.id, intake_topic(app.id)) for app in (METRO, BUS)}
            preload(site.client, load.records(), routes, lambda _: None)
            await start_workers(site.endpoint, site.shards, workers, intake_workers)
            warm = min(WARM_UP_RECORDS, len(load) // 2)
            told = await reach(warm, site.told, workers, "intake-1")
            began_s, before_s = time.monotonic(), workers.cpu_s()
            archived = await reach_archived(site.endpoint, site.shards, workers, warm)
            before_s["archive"] = workers.cpu_s()["archive"]
            await reach_archived(site.endpoint, site.shards, workers, len(load))
            seconds, after_s = time.monotonic() - began_s, workers.cpu_s()
            found = archive_differences(site.endpoint, load.totals())
    finally:
        site.down()
    shutil.rmtree(home)
    left = {kind: max(1, len(load) - (archived if kind == "archive" else told)) for kind in after_s}
    cpu_us = {kind: round((s - before_s[kind]) / left[kind] * 1e6, 2) for kind, s in sorted(after_s.items())}
    rate, in_all = round(left["intake"] / seconds, 1), round(sum(cpu_us.values()), 2)
    return Run(tree, _commit_of(root), left, rate, cpu_us, in_all, found)


def _commit_of(root: Path) -> str:
    """The tree's commit, with a + behind it where files differ; '' outside of git."""
    asked = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--dirty=+"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def compared(machine: Machine, runs: list[Run]) -> Comparison:
    """The medians and their ratios."""
    medians = {tree: _median([run for run in runs if run.tree == tree]) for tree in (OTHER, THIS)}
    this, other = medians[THIS], medians[OTHER]
    return Comparison(
        dt.datetime.now(SHANGHAI).date().isoformat(),
        machine,
        runs,
        medians,
        round(this.cpu_us_per_record_in_all / other.cpu_us_per_record_in_all, 3),
        round(this.records_per_s / other.records_per_s, 3),
    )


def _median(runs: list[Run]) -> Run:
    """The run whose CPU in all is the median; of an even number the worse one of the two."""
    cpu_us = statistics.median_high(run.cpu_us_per_record_in_all for run in runs)
    return next(run for run in runs if run.cpu_us_per_record_in_all == cpu_us)


def show(result: Comparison, console: Console) -> None:
    """Prints a comparison for people."""
    kinds = list(result.medians[THIS].cpu_us_per_record)
    table = Table(title="CPU us a record, from the warm-up to the last archived row; medians, and all runs")
    for heading in ("tree", "commit", *kinds, "in all", "records/s"):
        table.add_column(heading, justify="left" if heading in ("tree", "commit") else "right")
    for run in (*result.medians.values(), *result.runs):
        figures = [f"{run.cpu_us_per_record[kind]:.2f}" for kind in kinds]
        in_all, rate = f"{run.cpu_us_per_record_in_all:.2f}", f"{run.records_per_s:,.0f}"
        table.add_row(run.tree, run.commit, *figures, in_all, rate)
    console.print(table)
    console.print(f"this / other: CPU {result.cpu_ratio:.3f}, rate {result.rate_ratio:.3f}")
    for run in result.runs:
        for difference in run.differences:
            console.print(f"{run.tree}: {difference}", style="red")


@click.command()
@click.option("--other", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--records", type=click.IntRange(1_000), default=1_000_000, show_default=True)
@click.option("--repeat", type=click.IntRange(1, 9), default=3, show_default=True, help="Of each tree.")
@click.option("--intake-workers", type=click.IntRange(1, 4), default=2, show_default=True)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the result here, as JSON."
)
def main(other: Path, records: int, repeat: int, intake_workers: int, out: Path | None) -> None:
    """Drain full queues by this tree and by the one in --other, in turns; exit 1 if a total is wrong."""
    console, machine = Console(stderr=True), this_machine()
    roots = {OTHER: other.resolve(), THIS: ROOT}
    for root in roots.values():
        if not Site(root, root).python.exists():
            raise OperatorError(f"{root} has no .venv.", f"run `make setup` in {root} first.")
    load = Load(records, SEED, dt.datetime.now(SHANGHAI).date())
    runs: list[Run] = []
    for _ in range(repeat):
        for tree, root in roots.items():
            with console.status(f"run {len(runs) + 1} of {2 * repeat}: {tree}"):
                runs.append(asyncio.run(drain(tree, root, load, intake_workers)))
    result = compared(machine, runs)
    if out:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    show(result, Console())
    if any(run.differences for run in runs):
        sys.exit(1)


if __name__ == "__main__":
    main()
