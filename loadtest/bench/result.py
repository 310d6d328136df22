"""What a run found: the figures, the machine they belong to, and how they are shown."""

import os
import platform
import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from loadtest.bench.drain import Drained
from loadtest.bench.peer_run import PeerRun
from stream.embedded import jars, redis

PACKAGES = ("faust-streaming", "aiokafka", "redis", "pyarrow", "msgspec", "chdb")


class Machine(msgspec.Struct, frozen=True):
    """Where the figures were measured."""

    cpu: str
    cores: int
    memory_gib: float
    load_average_before: float  # of the last minute: what else the machine was doing
    system: str
    versions: dict[str, str]


class Drain(msgspec.Struct, frozen=True):
    """The platform's figures. The rate counts records from the first fetch to the last archived row."""

    records: int
    verdicts: dict[str, int]
    intake_workers: int
    seconds: float
    records_per_s: float
    decided_records_per_s: float  # until Redis had the last record; the archive may still be writing
    cpu_us_per_record: dict[str, float]
    cpu_us_per_record_in_all: float


class Peer(msgspec.Struct, frozen=True):
    """The plain Faust + Redis agent's figures, of its own process only."""

    records: int
    seconds: float
    records_per_s: float
    cpu_us_per_record: float


class Result(msgspec.Struct, frozen=True):
    """A whole run. `differences` is empty if ledger, Redis, archive and plain agent have the known totals."""

    date: str
    seed: int
    machine: Machine
    drain: Drain
    peer: Peer
    ratio: float
    differences: list[str]


def drain_of(drained: Drained, records: int, verdicts: dict[str, int], intake_workers: int) -> Drain:
    """The figures of a drain."""
    return Drain(
        records,
        verdicts,
        intake_workers,
        round(drained.archived_s, 3),
        round(records / drained.archived_s),
        round(records / drained.decided_s),
        {kind: round(s / records * 1e6, 2) for kind, s in sorted(drained.cpu_s.items())},
        round(sum(drained.cpu_s.values()) / records * 1e6, 2),
    )


def peer_of(run: PeerRun, records: int) -> Peer:
    """The figures of the plain agent."""
    return Peer(
        records, round(run.seconds, 3), round(records / run.seconds), round(run.cpu_s / records * 1e6, 1)
    )


def this_machine() -> Machine:
    """This machine, as it is before the run."""
    return Machine(
        _cpu_name(),
        os.cpu_count() or 1,
        round(psutil.virtual_memory().total / 2**30, 1),
        round(os.getloadavg()[0], 2),
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        {name: version(name) for name in PACKAGES} | {"kafka": _kafka_version(), "valkey": _redis_version()},
    )


def show(result: Result, console: Console) -> None:
    """Prints a run for people."""
    drain, peer, machine = result.drain, result.peer, result.machine
    table = Table(title=f"drain: {drain.records:,} records preloaded, first fetch to last archived row")
    for heading in ("", "records/s", "seconds", "CPU us a record"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row(
        f"platform, {drain.intake_workers} intake worker(s)",
        f"{drain.records_per_s:,}",
        f"{drain.seconds:.1f}",
        f"{drain.cpu_us_per_record_in_all:.1f} in all",
    )
    for kind, cpu_us in drain.cpu_us_per_record.items():
        table.add_row(f"  {kind}", "", "", f"{cpu_us:.1f}")
    table.add_row(
        f"plain Faust + Redis agent, {peer.records:,} records",
        f"{peer.records_per_s:,}",
        f"{peer.seconds:.1f}",
        f"{peer.cpu_us_per_record:.1f} agent alone",
    )
    console.print(table)
    console.print(f"ratio: {result.ratio:.1f} times the plain agent, on the same stack in the same run")
    console.print(
        f"machine: {machine.cpu}, {machine.cores} cores, {machine.memory_gib:g} GiB, load before "
        f"{machine.load_average_before:g}; {machine.system}; "
        + ", ".join(f"{name} {text}" for name, text in machine.versions.items())
    )
    for difference in result.differences:
        console.print(difference, style="red")
    if not result.differences:
        counts = ", ".join(f"{n:,} {verdict}" for verdict, n in drain.verdicts.items())
        console.print(f"verified: ledger == redis == clickhouse == known totals ({counts})", style="green")


def _kafka_version() -> str:
    jar_lock = tomllib.loads(jars.LOCK_FILE.read_text())
    return next(jar["version"] for jar in jar_lock["dependencies"] if jar["artifactId"].startswith("kafka_"))


def _redis_version() -> str:
    asked = [str(redis.executable()), "--version"]
    answer = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
    found = re.search(r"v=(\S+)", answer.stdout)
    return found.group(1) if found else ""


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        return found.group(1) if found else platform.machine()
    asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
    answer = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    return answer.stdout.strip() or platform.machine()
