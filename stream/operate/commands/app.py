"""`points app`: who may report what, from one row of each shard on."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from schemas.kinds.app import App, checked
from schemas.limits import ROWS_PER_DAY
from stream.settings import Settings

if TYPE_CHECKING:
    from stream.operate.platform.app_list import Entry


@click.group()
def app() -> None:
    """Register apps, and say what they may do."""


@app.command()
@click.argument("app_id", metavar="APP")
@click.option("--operator", required=True, help="Who operates it (应用程序运营主体).")
@click.option("--methodology", "methodologies", multiple=True, required=True, help="Granted; repeatable.")
@click.option("--scene", "scenes", multiple=True, help="Granted 碳普惠场景; repeatable.")
@click.option(
    "--quota-kib-s",
    type=click.IntRange(1, 1 << 20),
    default=128,
    show_default=True,
    help="KiB/s that the app may write on each broker; it may read four times as much.",
)
@click.option(
    "--rows-per-day",
    type=click.IntRange(1, 10**12),
    default=ROWS_PER_DAY,
    show_default=True,
    help="Records of it that are decided in a day; what is more waits for the next.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def add(
    app_id: str,
    operator: str,
    methodologies: tuple,
    scenes: tuple,
    quota_kib_s: int,
    rows_per_day: int,
    as_json: bool,
) -> None:
    """Register APP and print its credentials, once: nothing keeps them."""
    from stream.errors import OperatorError
    from stream.operate.platform import onboarding
    from stream.settings import load

    _check_known(methodologies)
    wanted = _checked(App(app_id, operator, list(methodologies), list(scenes), rows_per_day=rows_per_day))
    settings = load()
    if known := onboarding.registry(settings).get(app_id):
        registered = known[min(known)]
        raise OperatorError(
            f"{app_id} is registered already, for {registered.operator}.",
            "for a new password: `points app rotate`; to let it report again: `points app resume`.",
        )
    quota = onboarding.quota_of(quota_kib_s)
    settings = _with_progress(lambda say: onboarding.onboard(settings, wanted, quota, say))
    behind = _with_progress(lambda say: onboarding.wait_in_force(settings, wanted))
    _print_credentials(settings, app_id, behind, as_json)


@app.command()
@click.argument("app_id", metavar="APP")
@click.option("--operator", help="Who operates it now.")
@click.option("--methodology", "methodologies", multiple=True, help="All that are granted now; repeatable.")
@click.option("--scene", "scenes", multiple=True, help="All that are granted now; repeatable.")
@click.option("--quota-kib-s", type=click.IntRange(1, 1 << 20), help="KiB/s that it may write from now on.")
@click.option("--rows-per-day", type=click.IntRange(1, 10**12), help="Records decided in a day from now on.")
def change(
    app_id: str,
    operator: str | None,
    methodologies: tuple,
    scenes: tuple,
    quota_kib_s: int | None,
    rows_per_day: int | None,
) -> None:
    """Change what APP is granted, from one row of each shard on; what is not named stays."""
    from stream.operate.platform import onboarding
    from stream.settings import load

    _check_known(methodologies)
    settings = load()
    said: dict[str, Any] = {
        "operator": operator, "methodologies": list(methodologies), "scenes": list(scenes)
    }  # fmt: skip
    said["rows_per_day"] = rows_per_day
    said = {name: value for name, value in said.items() if value}
    wanted = _checked(onboarding.known_app(settings, app_id, **said))
    if quota_kib_s:
        onboarding.set_quota(settings, app_id, onboarding.quota_of(quota_kib_s))
    _register(settings, wanted)


@app.command()
@click.argument("app_id", metavar="APP")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def rotate(app_id: str, as_json: bool) -> None:
    """Give APP a new password; the old one opens no new connection from now on."""
    from stream.operate.platform import onboarding
    from stream.settings import load

    settings = load()
    registered = onboarding.known_app(settings, app_id)
    settings = onboarding.rotate(settings, app_id)
    _print_credentials(settings, app_id, onboarding.shards_without(settings, registered), as_json)


@app.command()
@click.argument("app_id", metavar="APP")
@click.option("--now", is_flag=True, help="First take its rights and password from Kafka, at once.")
def suspend(app_id: str, now: bool) -> None:
    """Refuse what APP reports, from one row of each shard on; its users keep their points."""
    from stream.operate.platform import onboarding
    from stream.operate.platform.shut_out import shut_out
    from stream.settings import load

    settings = load()
    wanted = onboarding.known_app(settings, app_id, active=False)
    if now:
        _with_progress(lambda say: shut_out(settings, app_id, say))
        click.echo(f"{app_id} may do nothing on Kafka any more, and its password is void")
    _register(settings, wanted)


@app.command()
@click.argument("app_id", metavar="APP")
def resume(app_id: str) -> None:
    """Let a suspended APP report again; after `suspend --now` with a new password, which is printed once."""
    from stream.operate.platform import onboarding
    from stream.operate.platform.shut_out import are_shut_out, let_in
    from stream.settings import load

    settings = load()
    wanted = onboarding.known_app(settings, app_id, active=True)
    was_shut_out = app_id in are_shut_out(settings)
    if was_shut_out:
        let_in(settings, app_id)
        settings = onboarding.rotate(settings, app_id)
    _register(settings, wanted)
    if was_shut_out:
        _print_credentials(settings, app_id, onboarding.shards_without(settings, wanted), as_json=False)


@app.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def list_apps(as_json: bool) -> None:
    """Every registered app: state, grants, in how many shards that is in force, and faults of its topics."""
    from rich.console import Console
    from rich.table import Table

    from stream.operate.platform.app_list import registered_apps
    from stream.settings import load

    settings = load()
    found = registered_apps(settings)
    if as_json:
        click.echo(json.dumps([entry._asdict() for entry in found], ensure_ascii=False, indent=2))
        return
    table = Table(title=f"apps of {settings.platform_id}")
    for heading in ("app", "state", "operator", "methodologies", "scenes"):
        table.add_column(heading, overflow="fold")
    for heading in ("shards", "KiB/s"):
        table.add_column(heading, justify="right")
    for entry in found:
        table.add_row(
            entry.app,
            _state(entry),
            entry.operator,
            " ".join(entry.methodologies),
            " ".join(entry.scenes),
            f"{entry.shards_in_force} of {settings.shards}",
            f"{entry.produce_bytes_s / 1024:,.0f}" if entry.produce_bytes_s else "no limit",
        )
    Console(file=sys.stdout).print(table)


def _state(entry: Entry) -> str:
    state = "active" if entry.active else "[yellow]suspended[/]"
    if entry.shut_out:
        state += " [yellow]shut out[/]"
    return "\n".join((state, *(f"[red]{each}[/]" for each in entry.topics)))


def _register(settings: Settings, wanted: App) -> None:
    from stream.operate.platform import onboarding

    onboarding.register(settings, wanted)
    behind = _with_progress(lambda say: onboarding.wait_in_force(settings, wanted))
    click.echo(f"{wanted.id} is {'active' if wanted.active else 'suspended'}; {_in_force(settings, behind)}")


def _checked(app: App) -> App:
    try:
        return checked(app)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="APP") from error


def _check_known(methodologies: tuple[str, ...]) -> None:
    from schemas.rules import load_rules

    if unknown := sorted(set(methodologies) - set(load_rules().methodologies)):
        raise click.BadParameter(f"{unknown[0]} is in no methodologies file", param_hint="--methodology")


def _with_progress(work):
    from rich.console import Console

    with Console(stderr=True).status("waiting until every shard knows it") as line:
        return work(line.update)


def _in_force(settings: Settings, behind: list[int]) -> str:
    if not behind:
        return f"in force in all {settings.shards} shards"
    return (
        f"in force in {settings.shards - len(behind)} of {settings.shards} shards; "
        "in the others as soon as an intake worker runs them (`points worker intake`)"
    )


def _print_credentials(settings: Settings, app_id: str, behind: list[int], as_json: bool) -> None:
    from schemas.topics import intake_topic, outcomes_topic
    from stream.operate.platform.onboarding import app_principal

    user = app_principal(app_id)
    credentials = {
        "KAFKA_BOOTSTRAP": settings.bootstrap_of(user),
        "KAFKA_SECURITY": settings.kafka_security,
        "KAFKA_MECHANISM": settings.kafka_sasl_mechanism,
        "KAFKA_USER": user,
        "KAFKA_PASSWORD": settings.password(user),
    }
    if as_json:
        topics = {"writes": intake_topic(app_id), "reads": outcomes_topic(app_id), "behind": behind}
        click.echo(json.dumps({"app": app_id, "credentials": credentials} | topics))
        return
    click.echo(f"{app_id}: {_in_force(settings, behind)}")
    click.echo(f"It writes {intake_topic(app_id)} and reads {outcomes_topic(app_id)}; see docs/apps.md.")
    click.echo("Its credentials, shown this once and kept nowhere:")
    for name, value in credentials.items():
        click.echo(f"  {name}={value}")
