"""`points send FILE --as APP`: ready-made reports, one JSON object a line, and what became of each."""

import itertools
import json
import re
import shlex
import sys
import tempfile
import time
from codecs import BOM_UTF8
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from sinks.app_client import AppClient, OutboxFullError, Refused
from sinks.app_client.records import check_record
from stream.errors import OperatorError
from stream.operate.commands.app_login import CHECK_LOGIN, check_login
from stream.operate.commands.tally import ID_TAKEN, REPEATED_LINE, Tally, show
from stream.operate.platform.onboarding import app_principal
from stream.settings import Settings, load


class Shape(NamedTuple):
    """What a file may be instead of reports, by how it begins, and the command that makes reports of it."""

    begins: re.Pattern[bytes]
    what: str
    command: str = ""


_EACH = "import json, sys; [print(json.dumps(report)) for report in json.load(sys.stdin)]"
SHAPES = (
    Shape(re.compile(rb"\s*\Z"), "empty"),
    Shape(re.compile(rb"\xff\xfe|\xfe\xff"), "UTF-16", "iconv -f UTF-16 -t UTF-8 {name}"),
    Shape(re.compile(rb".\0", re.S), "UTF-16", "iconv -f UTF-16LE -t UTF-8 {name}"),
    Shape(re.compile(rb"\0.", re.S), "UTF-16", "iconv -f UTF-16BE -t UTF-8 {name}"),
    Shape(re.compile(rb"\x1f\x8b"), "compressed by gzip", "gunzip -c {name}"),
    Shape(re.compile(rb"\x28\xb5\x2f\xfd"), "compressed by zstd", "zstd -dc {name}"),
    Shape(re.compile(rb"PK\x03\x04"), "a zip archive or a spreadsheet"),
    Shape(re.compile(rb"\s*\["), "a JSON array", f"python3 -c '{_EACH}' < {{name}}"),
    Shape(re.compile(rb"\s*\{\s*\n"), "JSON with a report on several lines"),
)
BEGINNING_BYTES = 64
CHUNK_LINES = 1_000
UNANSWERED_MAX = 20_000
CONNECT_TIMEOUT_S = 20.0
STALL_TIMEOUT_S = 60.0  # a killed worker's shards are taken over in some 15 s


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--as", "app", metavar="APP", required=True, help="The app that reports.")
@click.option("--no-wait", is_flag=True, help="End once the broker has them all, without their outcomes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def send(file: BufferedReader, app: str, no_wait: bool, as_json: bool) -> None:
    """Send the reports in FILE (- for standard input), one JSON object a line, and show what became of them.

    A line that is no report is not sent. Sending a file again is harmless. Exit code 1 if any was refused.
    """
    settings, tally = load(), Tally()
    settings.password(app_principal(app))
    check_file(file, app)
    check_login(settings, app)
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with tempfile.TemporaryDirectory(prefix="points-send-") as folder, bar:
        outbox = Path(folder) / "outbox"
        client = client_as(settings, app, outbox, on_outcome=tally.answered, capacity=UNANSWERED_MAX)
        with client:
            exchange(client, file, tally, Patience(client, tally, bar), no_wait)
    if as_json:
        click.echo(json.dumps(tally.plain(), ensure_ascii=False))
    else:
        show(tally, Console())
    if tally.refused_lines:
        sys.exit(1)


def client_as(settings: Settings, app: str, outbox: Path, **options: Any) -> AppClient:
    """A client of one app, by the settings of this process; what is refused for now is an answer to it."""
    user = app_principal(app)
    return AppClient(
        app,
        outbox,
        bootstrap=settings.bootstrap_of(user),
        user=user,
        password=settings.password(user),
        mechanism=settings.kafka_sasl_mechanism,
        security=settings.kafka_security,
        ca_file=settings.kafka_ca_file,
        retry=False,
        **options,
    )


class Patience:
    """Waits a moment at a time, and gives up when nothing has moved for too long."""

    def __init__(self, client: AppClient, tally: Tally, bar: Progress) -> None:
        self._client, self._tally, self._bar = client, tally, bar
        self._task = bar.add_task("answered", total=None)
        self._last_s, self._last = time.monotonic(), (0, 0)

    def wait(self) -> None:
        """Returns after an answer or a moment. Raises `OperatorError`."""
        with self._tally.changed:
            self._tally.changed.wait(0.2)
        pending = self._client.pending()
        answered = self._tally.verdicts.total()
        self._bar.update(self._task, completed=answered, total=self._tally.sent)
        if (now := (answered, pending.get("sent", 0))) != self._last:
            self._last_s, self._last = time.monotonic(), now
        waited_s = time.monotonic() - self._last_s
        if (trouble := self._client.trouble()) and waited_s > CONNECT_TIMEOUT_S:
            raise OperatorError(
                f"Kafka does not take the records: {trouble}.",
                f"{CHECK_LOGIN} Sending the file again is harmless.",
            )
        if waited_s > STALL_TIMEOUT_S:
            raise OperatorError(
                f"{sum(pending.values()):,} records have had no outcome for {STALL_TIMEOUT_S:.0f} s.",
                "the broker has them, and they will be decided: see in `points status` that an intake worker"
                " runs, then look with `points outcomes`. Sending the file again is harmless.",
            )


def exchange(
    client: AppClient, file: BufferedReader, tally: Tally, patience: Patience, no_wait: bool
) -> None:
    """Sends the file's lines; returns once all are answered, or with `no_wait` once the broker has all."""
    while chunk := list(itertools.islice(file, CHUNK_LINES)):
        values = list(sendable(chunk, tally))
        while values:
            try:
                client.submit(values)
            except OutboxFullError:
                patience.wait()
            else:
                break
    unfinished = (lambda: not client.flush(0)) if no_wait else client.pending
    while unfinished():
        patience.wait()


def sendable(chunk: list[bytes], tally: Tally) -> Iterator[bytes]:
    """The reports among some lines, each once."""
    for text in chunk:
        tally.lines += 1
        if not (value := text.strip()):
            continue
        try:
            report_id = check_record(value).report_id
        except Refused as refused:
            tally.kept_back(tally.lines, refused.verdict.code, refused.detail)
            continue
        line, content = tally.seen.setdefault(report_id, (tally.lines, hash(value)))
        if line == tally.lines:
            tally.sent += 1
            yield value
        elif content == hash(value):
            tally.not_sent[REPEATED_LINE] += 1
        else:
            tally.kept_back(tally.lines, ID_TAKEN, f"report_id: line {line} has it, with other content")


def check_file(file: BufferedReader, app: str) -> None:
    """Raises OperatorError if a file is not text of one JSON object a line; passes over a byte order mark."""
    start = file.peek(BEGINNING_BYTES)
    if start.startswith(BOM_UTF8):
        start = start[len(file.read(len(BOM_UTF8))) :]
    name = "FILE" if file.name == "<stdin>" else shlex.quote(file.name)
    shape = next((shape for shape in SHAPES if shape.begins.match(start)), None)
    if shape:
        command = f"`{shape.command.format(name=name)} | points send - --as {app}`"
        raise OperatorError(
            f"{file.name} is {shape.what}, not one JSON object a line.",
            f"run {command}." if shape.command else "write each report on a line of its own, as JSON.",
        )
