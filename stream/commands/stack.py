"""`points up`, `points down`, `points status`: the life of a stack."""

import os
import sys
from datetime import datetime

import click
import msgspec
from rich.console import Console
from rich.table import Table

from stream import settings as settings_module


@click.command()
def up() -> None:
    """Start the embedded stack and set the platform up; with real services, only set it up."""
    from stream.embedded import stack
    from stream.platform_setup import set_up_platform

    env = os.environ
    settings_module.refuse_unknown_variables(env)
    home = settings_module.home_folder(env)
    console = Console(stderr=True)
    with console.status("looking") as line:
        if settings_module.is_real(env):
            settings = settings_module.load(env)
            set_up_platform(settings, line.update)
        else:
            settings = stack.up(home, env, line.update)
    click.echo(f"up: Kafka at {settings.kafka_bootstrap}, platform {settings.platform_id}")
    if settings.embedded:
        click.echo(f"    data in {home}; see `points status`, stop with `points down`")


@click.command()
def down() -> None:
    """Stop the embedded stack; its data stays."""
    from stream.embedded import stack

    home = settings_module.home_folder(os.environ)
    with Console(stderr=True).status("looking") as line:
        stopped = stack.down(home, line.update)
    click.echo(f"stopped: {', '.join(stopped)}" if stopped else f"nothing of {home} was running")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(as_json: bool) -> None:
    """Processes of the embedded stack, and the space its data takes."""
    from stream.embedded import stack

    found = stack.status(settings_module.home_folder(os.environ))
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
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
    console = Console(file=sys.stdout)
    console.print(table)
    total_bytes = sum(found.disk_bytes.values())
    console.print(
        f"data folder {total_bytes / 2**20:.1f} MiB, disk {found.disk_free_bytes / 2**30:.1f} GiB free"
    )


def _shown(value: int | None) -> str:
    return "" if value is None else str(value)
