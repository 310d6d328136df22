"""`points up`, `points down`: the life of a stack, and its keeper."""

import os

import click
from rich.console import Console

from stream import settings as settings_module


@click.command()
def up() -> None:
    """Start the embedded stack and set the platform up; with real services, only set it up."""
    from stream.operate import stack
    from stream.operate.platform.setup import set_up_platform

    env = os.environ
    settings_module.refuse_unknown_variables(env)
    home = settings_module.home_folder(env)
    console = Console(stderr=True, soft_wrap=True)

    def note(what: str) -> None:
        console.print(what, style="yellow", markup=False)

    with console.status("looking") as line:
        if settings_module.is_real(env):
            settings = settings_module.load(env)
            set_up_platform(settings, line.update, note)
        else:
            settings = stack.up(home, env, line.update, note)
    click.echo(f"up: Kafka at {settings.kafka_bootstrap}, platform {settings.platform_id}")
    if settings.embedded:
        click.echo(f"    data in {home}; see `points status`, stop with `points down`")
    click.echo("    next: `points worker intake`, `points worker archive`, `points app add`")


@click.command()
def down() -> None:
    """Stop the embedded stack; its data stays."""
    from stream.operate import stack

    home = settings_module.home_folder(os.environ)
    with Console(stderr=True).status("looking") as line:
        stopped = stack.down(home, line.update)
    click.echo(f"stopped: {', '.join(stopped)}" if stopped else f"nothing of {home} was running")


@click.command(hidden=True)
def keep() -> None:
    """Start Kafka and Redis again when they die; `points up` runs this."""
    from stream.embedded import keeper
    from stream.log import configure_log

    home = settings_module.home_folder(os.environ)
    configure_log(home)
    keeper.keep(home)
