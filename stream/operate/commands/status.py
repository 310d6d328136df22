"""`points status`: processes of a data folder, and what flows through its workers."""

import contextlib
import os
import sys
import time
from collections import deque
from datetime import datetime
from pathlib import Path

import click
import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stream import settings as settings_module
from stream.embedded import keeper
from stream.operate import stack
from stream.operate.stack import ProcessStatus, StackStatus
from stream.telemetry import snapshot
from stream.telemetry.flow import flow
from stream.telemetry.screen import HISTORY, drawn, panel, seconds, table_of
from stream.telemetry.snapshot import Snapshot

REFRESH_S = 1.0
RATE_OVER_S = 5.5  # the archive writes every 5 s: a rate over less would jump
ALERT_MEMORY_S = 600  # alerts on increases look back as far


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--watch", is_flag=True, help="Show it live until Ctrl-C.")
def status(as_json: bool, watch: bool) -> None:
    """Processes of the stack, the space its data takes, and what flows through its workers."""
    home = settings_module.home_folder(os.environ)
    console = Console(file=sys.stdout)
    if watch:
        _watch(home, console)
        return
    found = stack.status(home)
    addresses = addresses_of(found.processes)
    seen = flow(snapshot.take(addresses)) if addresses else None
    if as_json:
        click.echo(msgspec.json.encode({**msgspec.structs.asdict(found), "flow": seen}))
        return
    console.print(_process_table(found))
    total_bytes = sum(found.disk_bytes.values())
    console.print(
        f"data folder {total_bytes / 2**20:.1f} MiB, disk {found.disk_free_bytes / 2**30:.1f} GiB free"
    )
    for line in keeper.words(found.kept):
        console.print(line, style="yellow", markup=False)
    if seen:
        console.print()
        console.print(drawn(seen, {}, console.width))


def addresses_of(found: list[ProcessStatus]) -> dict[str, str | None]:
    """Where to ask which worker; None for one that was started and does not run any more."""
    return {
        process.name: process.metrics if process.state == "up" else None
        for process in found
        if process.metrics
    }


class Watch:
    """What was seen so far: for rates, sparklines, and alerts on increases."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._seen: deque[Snapshot] = deque()  # of the last ten minutes, the newest last
        self._cpu_s: dict[int, tuple[float, float]] = {}  # by pid: when it was read, and CPU time so far
        self._rates: dict[str, deque[float]] = {}
        self._archived: dict[int, int] = {}

    def look(self, width: int) -> RenderableType:
        """Asks everybody, and draws it."""
        found = stack.process_statuses(self._home)
        now = snapshot.take(addresses_of(found))
        rates_since, alerts_since = now.at_s - RATE_OVER_S, now.at_s - ALERT_MEMORY_S
        seen = flow(now, self._since(rates_since), self._since(alerts_since), self._archived)
        self._archived = {shard.number: shard.archived_seq for shard in seen.shards if shard.archived_seq}
        for stage in seen.stages:
            self._rates.setdefault(stage.name, deque(maxlen=HISTORY)).append(stage.per_s or 0.0)
        self._seen.append(now)
        while self._seen[0].at_s < alerts_since:
            self._seen.popleft()
        alerts = Text(f"{len(seen.firing)} alerts", "bold red") if seen.firing else Text("no alert", "green")
        title = Table.grid(expand=True)
        title.add_column()
        title.add_column(justify="right")
        title.add_row(
            Text.assemble((" points ", "bold reverse"), f"  {self._home}"),
            Text.assemble(alerts, (f"   {datetime.now():%H:%M:%S} ", "dim")),
        )
        return Group(title, drawn(seen, self._rates, width, panel("processes", self._processes(found))))

    def _since(self, at_s: float) -> Snapshot | None:
        """The oldest snapshot that is not older."""
        return next((seen for seen in self._seen if seen.at_s >= at_s), None)

    def _processes(self, found: list[ProcessStatus]) -> Table:
        """One line a process."""
        table = table_of("process", "", "pid", "up for", "CPU %", "MiB", "/metrics", left=2)
        for process in found:
            if process.state != "up":
                table.add_row(process.name, Text("down", "bold red"))
                continue
            table.add_row(
                process.name,
                Text("up", "green"),
                str(process.pid),
                seconds(time.time() - (process.up_since_s or time.time())),
                self._cpu_percent(process),
                f"{(process.memory_bytes or 0) / 2**20:,.0f}",
                Text(process.metrics or "", "dim"),
            )
        return table

    def _cpu_percent(self, process: ProcessStatus) -> str:
        if process.pid is None or process.cpu_s is None:
            return ""
        now_s = time.monotonic()
        before_s, cpu_s = self._cpu_s.get(process.pid, (now_s, process.cpu_s))
        self._cpu_s[process.pid] = (now_s, process.cpu_s)
        return f"{100 * (process.cpu_s - cpu_s) / (now_s - before_s):.0f}" if now_s > before_s else ""


def _watch(home: Path, console: Console) -> None:
    watch = Watch(home)
    with (
        Live(console=console, auto_refresh=False, screen=console.is_terminal) as live,
        contextlib.suppress(KeyboardInterrupt),
    ):
        while True:
            live.update(watch.look(console.width), refresh=True)
            time.sleep(REFRESH_S)


def _process_table(found: StackStatus) -> Table:
    table = Table(title=f"stack in {found.home}")
    for heading in ("process", "state", "pid", "port", "up since", "CPU s", "MiB", "disk MiB"):
        table.add_column(heading, justify="left" if heading in ("process", "state") else "right")
    for process in found.processes:
        disk_bytes = found.disk_bytes.get(process.name)
        table.add_row(
            process.name,
            process.state,
            _shown(process.pid),
            _shown(process.port),
            datetime.fromtimestamp(process.up_since_s).strftime("%m-%d %H:%M:%S")
            if process.up_since_s
            else "",
            f"{process.cpu_s:.1f}" if process.cpu_s is not None else "",
            f"{process.memory_bytes / 2**20:.0f}" if process.memory_bytes is not None else "",
            f"{disk_bytes / 2**20:.1f}" if disk_bytes is not None else "",
        )
    return table


def _shown(value: int | None) -> str:
    return "" if value is None else str(value)
