"""What a run found: the figures, the machine they belong to, and how they are shown."""

import os
import platform
import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from loadtest.bench.drain import Drained
from loadtest.bench.open_loop import Paced
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


class OpenLoop(msgspec.Struct, frozen=True):
    """A run at a steady rate, its warm-up left out. A report's time runs from when it was due to its outcome.
    `differences` is empty if ledger, Redis and archive have the known totals."""

    date: str
    seed: int
    machine: Machine
    intake_workers: int
    rate: int
    sent_per_s: float
    records: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    ledger_bytes_per_record: float
    records_per_block: float
    cpu_us_per_record: dict[str, float]
    cpu_cores_in_all: float
    differences: list[str]


def open_loop_of(
    paced: Paced,
    date: str,
    seed: int,
    machine: Machine,
    rate: int,
    intake_workers: int,
    differences: list[str],
) -> OpenLoop:
    """The figures of a run at a steady rate."""
    latencies_ms = np.percentile(np.array(paced.latencies_s) * 1_000, [50, 99, 100]).round(1)
    p50_ms, p99_ms, worst_ms = latencies_ms.tolist()
    return OpenLoop(
        date,
        seed,
        machine,
        intake_workers,
        rate,
        round(paced.records / paced.seconds, 1),
        paced.records,
        p50_ms,
        p99_ms,
        worst_ms,
        round(paced.ledger_bytes / paced.records, 1),
        round(paced.records / max(1, paced.blocks), 2),
        {kind: round(s / paced.records * 1e6, 2) for kind, s in sorted(paced.cpu_s.items())},
        round(sum(paced.cpu_s.values()) / paced.seconds, 3),
        differences,
    )


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
    _show_machine(machine, console)
    counts = ", ".join(f"{n:,} {verdict}" for verdict, n in drain.verdicts.items())
    _show_differences(result.differences, counts, console)


def show_open_loop(result: OpenLoop, console: Console) -> None:
    """Prints a run at a steady rate for people."""
    title = f"open loop: {result.records:,} records, {result.sent_per_s:,} a second, due to outcome"
    table = Table(title=title)
    for heading in (
        "p50 ms",
        "p99 ms",
        "worst ms",
        "ledger bytes a record",
        "records a block",
        "cores in use",
    ):
        table.add_column(heading, justify="right")
    table.add_row(
        f"{result.p50_ms:,.0f}",
        f"{result.p99_ms:,.0f}",
        f"{result.worst_ms:,.0f}",
        f"{result.ledger_bytes_per_record:,.0f}",
        f"{result.records_per_block:,.1f}",
        f"{result.cpu_cores_in_all:.2f}",
    )
    console.print(table)
    _show_machine(result.machine, console)
    _show_differences(result.differences, f"{result.records:,} and the warm-up's", console)


def _show_machine(machine: Machine, console: Console) -> None:
    console.print(
        f"machine: {machine.cpu}, {machine.cores} cores, {machine.memory_gib:g} GiB, load before "
        f"{machine.load_average_before:g}; {machine.system}; "
        + ", ".join(f"{name} {text}" for name, text in machine.versions.items())
    )


def _show_differences(differences: list[str], counts: str, console: Console) -> None:
    for difference in differences:
        console.print(difference, style="red")
    if not differences:
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
