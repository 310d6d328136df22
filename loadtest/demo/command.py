"""`points demo`: real taps through the whole platform, compared with an independent calculation."""

import json
import re
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from loadtest.demo.reports import SATURDAYS_MAX
from loadtest.demo.taps import PACKAGED, TapsError
from stream import stack_file
from stream.errors import OperatorError


class KillType(click.ParamType):
    """WORKER@SHARE%, such as intake@40%."""

    name = "worker@share%"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple:
        """(worker, share of 1)."""
        found = re.fullmatch(r"(intake|archive)@(100|[0-9]{1,2})%", value)
        if not found:
            self.fail(f"{value!r} is not such as intake@40% or archive@60%", param, ctx)
        return found[1], int(found[2]) / 100


@click.command()
@click.option(
    "--taps",
    type=click.Path(path_type=Path),
    default=PACKAGED,
    show_default="the packaged file",
    help="Any slice of the data set, CSV or gzipped CSV.",
)
@click.option(
    "--home", type=click.Path(path_type=Path), help="Empty folder for the run; default: a fresh one."
)
@click.option(
    "--saturdays",
    type=click.IntRange(1, SATURDAYS_MAX),
    default=SATURDAYS_MAX,
    show_default=True,
    help="On how many Saturdays the taps are replayed.",
)
@click.option(
    "--kill",
    "kills",
    type=KillType(),
    multiple=True,
    help="kill -9 of a worker when that share of the records is sent. Repeatable.",
)
@click.option("--hostile", is_flag=True, help="A fourth app beside the three, which keeps no rule.")
@click.option("--keep", is_flag=True, help="Leave the platform running at the end.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def demo(
    taps: Path, home: Path | None, saturdays: int, kills: tuple, hostile: bool, keep: bool, as_json: bool
) -> None:
    """Replay a Saturday's transit taps of Shenzhen and prove every point of them."""
    from confluent_kafka import KafkaException

    from loadtest.demo import page
    from loadtest.demo.replay import Kill
    from loadtest.demo.run import Options, run
    from loadtest.demo.screen import Screen

    home = (home or Path(tempfile.mkdtemp(prefix="points-demo-"))).absolute()
    if stack_file.stack_path(home).exists():
        raise OperatorError(
            f"{home} holds a platform already; the demo would prove nothing on top of its points.",
            "name an empty folder, or leave --home out.",
        )
    options = Options(taps, home, saturdays, [Kill(*kill) for kill in kills], keep, hostile)
    try:
        with Screen(Console(stderr=True)) as screen:
            result = run(options, screen)
    except TapsError as error:
        raise OperatorError(str(error), "correct the file, or name another by --taps.") from error
    except KafkaException as error:
        raise OperatorError(
            f"Kafka failed the demo: {error.args[0].str()}.",
            f"look at {home}/logs/kafka.log, then run it again.",
        ) from error
    if as_json:
        click.echo(json.dumps(result.plain()))
    else:
        page.show(result, Console(), keep)
    if result.differences:
        sys.exit(1)
