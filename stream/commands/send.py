"""`points send FILE --as APP`: ready-made reports, one JSON object a line, and what became of each."""

import itertools
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from schemas.verdicts import TABLE
from sinks.app_client import Answer, AppClient, OutboxFullError, Refused, Standing
from sinks.app_client.records import check_record
from stream.errors import OperatorError
from stream.platform.onboarding import app_principal
from stream.settings import Settings, load

CHUNK_LINES = 1_000
UNANSWERED_MAX = 20_000
REFUSED_SHOWN_MAX = 20
CONNECT_TIMEOUT_S = 20.0
STALL_TIMEOUT_S = 60.0  # a killed worker's shards are taken over in some 15 s
GOOD = (Standing.RECORDED, Standing.COUNTED, Standing.REPEATED)
CHECK_LOGIN = (
    "see with `points doctor` that Kafka runs, and that the password is the app's last one"
    " (`points app rotate` makes a new one)."
)
REPEATED_LINE = "same as an earlier line"


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--as", "app", metavar="APP", required=True, help="The app that reports.")
@click.option("--no-wait", is_flag=True, help="End once the broker has them all, without their outcomes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def send(file: BinaryIO, app: str, no_wait: bool, as_json: bool) -> None:
    """Send the reports in FILE (- for standard input), one JSON object a line, and show what became of them.

    A line that is no report is not sent. Sending a file again is harmless. Exit code 1 if any was refused.
    """
    settings, tally = load(), Tally()
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


def client_as(settings: Settings, app: str, outbox: Path, **options: object) -> AppClient:
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


class Tally:
    """What became of the lines. Told by two threads."""

    def __init__(self) -> None:
        self.lines = self.sent = 0
        self.verdicts: Counter[str] = Counter()  # of records that were sent and answered
        self.not_sent: Counter[str] = Counter()
        self.points_milli = 0
        self.refused: list[tuple[int, str, str]] = []  # line, verdict, detail; the first of them
        self.refused_lines = 0
        self.seen: dict[str, tuple[int, int]] = {}  # by report_id: line, and hash of the content
        self.changed = threading.Condition()

    def kept_back(self, line: int, verdict: str, detail: str) -> None:
        """A line that is refused before it is sent."""
        with self.changed:
            self.not_sent[verdict] += 1
            self._refuse(line, verdict, f"{detail} (not sent)")

    def answered(self, answer: Answer) -> None:
        """The outcome of a record."""
        with self.changed:
            self.verdicts[answer.verdict] += 1
            self.points_milli += answer.points_milli
            if answer.standing not in GOOD:
                self._refuse(self.seen[answer.report_id][0], answer.verdict, answer.detail)
            self.changed.notify_all()

    def _refuse(self, line: int, verdict: str, detail: str) -> None:
        self.refused_lines += 1
        if len(self.refused) < REFUSED_SHOWN_MAX:
            self.refused.append((line, verdict, detail))

    def plain(self) -> dict:
        """For programs."""
        names = ("line", "verdict", "detail")
        return {
            "lines": self.lines,
            "sent": self.sent,
            "verdicts": dict(self.verdicts),
            "not_sent": dict(self.not_sent),
            "points_milli": self.points_milli,
            "refused_lines": self.refused_lines,
            "refused": [dict(zip(names, refused, strict=True)) for refused in self.refused],
        }


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


def exchange(client: AppClient, file: BinaryIO, tally: Tally, patience: Patience, no_wait: bool) -> None:
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
            tally.kept_back(tally.lines, "id_taken", f"report_id: line {line} has it, with other content")


def show(tally: Tally, console: Console) -> None:
    """The verdicts, and the first of the refused lines."""
    meanings = {verdict.code: meaning.app_should for verdict, meaning in TABLE.items()}
    table = Table("verdict")
    table.add_column("records", justify="right")
    table.add_column("what to do", overflow="fold")
    for verdict, count in tally.verdicts.most_common():
        table.add_row(verdict, f"{count:,}", meanings.get(verdict, "see docs/verdicts.md"))
    for verdict, count in tally.not_sent.most_common():
        table.add_row(f"{verdict} (not sent)", f"{count:,}", meanings.get(verdict, "nothing"))
    if table.row_count:
        console.print(table)
    unanswered = tally.sent - tally.verdicts.total()
    without = f", {unanswered:,} not waited for" if unanswered else ""
    console.print(
        f"{tally.lines:,} lines, {tally.sent:,} sent{without}, {tally.points_milli / 1000:,.3f} points"
    )
    for line, verdict, detail in tally.refused:
        console.print(f"line {line}: {verdict}: {detail}", markup=False, highlight=False)
    if more := tally.refused_lines - len(tally.refused):
        console.print(f"... and {more:,} more refused lines")
