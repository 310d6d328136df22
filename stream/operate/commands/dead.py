"""`points dead`: what was refused, what it was, and what is done about it."""

from __future__ import annotations

import json
import re
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING

import click

from schemas.topics import app_of
from stream.errors import OperatorError
from stream.operate.commands.topics import labels

if TYPE_CHECKING:
    from stream.operate.platform.commands import Labels
    from stream.operate.platform.dead_letters import Letter, Settled
    from stream.settings import Settings

AT_ONCE_MAX = 1_000  # each command ends a cycle of its shard: some 20 a second
EXAMPLES = 3
SHOWN_REASONS_MAX = 20
_NUMBERS = re.compile("[0-9]+")
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def filters(command):
    """The options that choose among refused records."""
    command = click.option("--since", metavar="AGE", help="Not older than, such as 12h or 7d.")(command)
    command = click.option("--verdict", "verdicts", multiple=True, help="Only these; repeatable.")(command)
    return click.option("--app", help="Only this app's.")(command)


@click.group()
def dead() -> None:
    """See what was refused, have it decided once more, or dismiss it."""


@dead.command("list")
@filters
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of groups.")
def list_letters(app: str | None, verdicts: tuple, since: str | None, as_json: bool) -> None:
    """Refused records of the last 90 days by app, verdict and detail, with some of their places.

    Their bytes are kept for 30 days. `open` are those that were neither replayed nor dismissed since.
    """
    from stream.operate.platform import dead_letters
    from stream.settings import load

    settings = load()
    said = dead_letters.settled(settings)
    groups: dict[tuple[str, str, str], list[Letter]] = {}
    for letter in _chosen(settings, app, verdicts, since):
        reason = _NUMBERS.sub("#", letter.detail)  # places and sizes differ in what says the same
        groups.setdefault((app_of(letter.place.topic), letter.verdict, reason), []).append(letter)
    told = [_told(key, group, said) for key, group in sorted(groups.items(), key=lambda g: -len(g[1]))]
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        _print(told)


@dead.command()
@click.argument("place", metavar="APP/PARTITION/OFFSET")
@click.option("--raw", is_flag=True, help="Write the very bytes: they may hold personal data.")
def show(place: str, raw: bool) -> None:
    """Show one refused record as its app sent it.

    Digits, and letters outside ASCII, are masked, unless --raw is given.
    """
    from stream.operate.platform import dead_letters
    from stream.settings import load

    settings = load()
    [letter] = _named(_chosen(settings, None, (), None), (place,))
    if letter.last_offset > letter.place.offset:
        raise OperatorError(f"{place} {dead_letters.why_not(letter)}.", "`points dead dismiss` settles it.")
    found, gone = dead_letters.bytes_of(settings, [letter.place])
    if letter.place in gone:
        raise OperatorError(f"{place} {gone[letter.place]}.", "ask its app, by the report_id or the place.")
    value = found[letter.place]
    if raw:
        sys.stdout.buffer.write(value)
        return
    state = dead_letters.settled(settings).state(letter)
    click.echo(f"{place}  {_time(letter.at_ms)}  {letter.verdict}  {state}")
    click.echo(f"detail: {letter.detail}")
    click.echo(f"bytes: {len(value)}")
    click.echo(masked(value))


@dead.command()
@click.argument("places", nargs=-1, metavar="[APP/PARTITION/OFFSET]...")
@filters
@labels
@click.option("--dry-run", is_flag=True, help="Say what would be said; decide nothing.")
def replay(
    places: tuple, app: str | None, verdicts: tuple, since: str | None,
    by: str, approved_by: str, reason: str, dry_run: bool,
) -> None:  # fmt: skip
    """Have refused records decided once more, as their app's, with all rules as they are now.

    Name places, or choose by --app and --verdict what is still open. Nothing is ever counted twice: what was
    answered meanwhile comes back as duplicate or already_claimed. The app is told, of the record's own place.
    """
    from schemas.codec import read_report
    from schemas.report import Report
    from stream.operate.platform import dead_letters
    from stream.settings import load

    settings = load()
    said = _labels(by, approved_by, reason, dry_run)
    chosen = _to_settle(settings, places, app, verdicts, since)
    left = {letter.place: why for letter in chosen if (why := dead_letters.why_not(letter))}
    wanted = [letter.place for letter in chosen if letter.place not in left]
    found, gone = dead_letters.bytes_of(settings, wanted[:AT_ONCE_MAX])
    for place, why in [*left.items(), *gone.items()][:SHOWN_REASONS_MAX]:
        click.echo(f"{place.short} {why}")
    if left or gone:
        click.echo(f"{len(left) + len(gone)} cannot be replayed")
    reads = sum(read_report(value).__class__ is Report for value in found.values())
    click.echo(f"{len(found)} to be decided once more; {len(found) - reads} of these still are no report")
    if len(wanted) > AT_ONCE_MAX:
        click.echo(f"{len(wanted) - AT_ONCE_MAX} more: repeat the command for these")
    if dry_run or not found:
        return
    key = _dedupe_key(settings)
    _say(settings, [dead_letters.replay_of(p, v, key, said, settings.shards) for p, v in found.items()])


@dead.command()
@click.argument("places", nargs=-1, metavar="[APP/PARTITION/OFFSET]...")
@filters
@labels
@click.option("--dry-run", is_flag=True, help="Say what would be dismissed.")
def dismiss(
    places: tuple, app: str | None, verdicts: tuple, since: str | None,
    by: str, approved_by: str, reason: str, dry_run: bool,
) -> None:  # fmt: skip
    """Note in the ledger that nothing more is done about refused records; nothing else changes.

    Name places, or choose by --app and --verdict what is still open.
    """
    from stream.operate.platform import dead_letters
    from stream.settings import load

    settings = load()
    said = _labels(by, approved_by, reason, dry_run)
    chosen = _to_settle(settings, places, app, verdicts, since)
    commands = dead_letters.dismissals(chosen, said)
    click.echo(f"{len(chosen)} to be dismissed, in {len(commands)} ranges of offsets")
    if not dry_run and commands:
        _say(settings, commands)


def masked(value: bytes) -> str:
    """Bytes as text without control characters, in which no digit and no letter outside ASCII is told."""
    text = re.sub(r"[0-9]", "#", value.decode("utf-8", "backslashreplace"))
    return "".join(c if c.isascii() and c.isprintable() else "?" if c.isprintable() else "." for c in text)


def _chosen(settings: Settings, app: str | None, verdicts: tuple, since: str | None) -> list[Letter]:
    from stream.operate.platform import dead_letters

    since_ms = int(time.time() * 1000) - _age_ms(since) if since else 0
    return [
        letter
        for letter in dead_letters.letters(settings, since_ms)
        if app in (None, app_of(letter.place.topic)) and (not verdicts or letter.verdict in verdicts)
    ]


def _to_settle(
    settings: Settings, places: tuple, app: str | None, verdicts: tuple, since: str | None
) -> list[Letter]:
    """The letters that are named, or those that are chosen and still open."""
    from stream.operate.platform import dead_letters

    if bool(places) == bool(app):
        raise click.UsageError("Name places, or choose by --app.")
    if places:
        return _named(_chosen(settings, None, (), None), places)
    said = dead_letters.settled(settings)
    return [x for x in _chosen(settings, app, verdicts, since) if said.state(x) == "open"]


def _named(found: list[Letter], places: tuple) -> list[Letter]:
    by_place = {letter.place.short: letter for letter in found}  # of a topic made again: the newer one
    for place in places:
        if place not in by_place:
            raise OperatorError(
                f"No refused record is listed at {place}.",
                "`points dead list` shows which there are; only what was refused may be replayed.",
            )
    return [by_place[place] for place in dict.fromkeys(places)]


def _labels(by: str, approved_by: str, reason: str, dry_run: bool) -> Labels:
    said: Labels = {"by": by, "approved_by": approved_by, "reason": reason}
    if not dry_run and (missing := [name for name, text in said.items() if not text]):
        raise click.UsageError(f"--{missing[0].replace('_', '-')} must be given: it is kept in the ledger.")
    return said


def _say(settings: Settings, commands: list) -> None:
    from stream.operate.platform import adoption
    from stream.operate.platform.commands import say_all

    behind = adoption.wait_decided(settings, say_all(settings, commands))
    if behind:
        shards = ", ".join(map(str, behind))
        click.echo(
            f"said; shards {shards} decide it once an intake worker runs them (`points worker intake`)"
        )
    else:
        click.echo(f"{len(commands)} commands decided: see with `points outcomes` and `points dead list`")


def _dedupe_key(settings: Settings) -> bytes:
    import asyncio

    from sinks.kafka_ledger import KafkaLedger
    from stream.operate.platform.genesis import dedupe_key

    async def read() -> str | None:
        ledger = KafkaLedger(settings.kafka_client("admin"))
        try:
            return await dedupe_key(ledger, {0: await ledger.end(0)})
        finally:
            await ledger.close()

    key = asyncio.run(read())
    if key is None:
        raise OperatorError("The ledger has no first block.", "run `points up`, which writes it.")
    return bytes.fromhex(key)


def _told(key: tuple[str, str, str], group: list[Letter], said: Settled) -> dict:
    app, verdict, _ = key
    return {
        "app": app,
        "verdict": verdict,
        "detail": group[0].detail,
        "records": sum(x.last_offset - x.place.offset + 1 for x in group),
        "open": sum(said.state(x) == "open" for x in group),
        "oldest": _time(min(x.at_ms for x in group)),
        "newest": _time(max(x.at_ms for x in group)),
        "places": [x.place.short for x in group[:EXAMPLES]],
    }


def _print(told: list[dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("app", "verdict")
    table.add_column("detail", overflow="fold")
    for heading in ("records", "open"):
        table.add_column(heading, justify="right")
    for heading in ("oldest", "newest", "such as"):
        table.add_column(heading, overflow="fold")
    for group in told:
        *texts, places = [group[name] for name in group]
        table.add_row(*[str(text) for text in texts], " ".join(places))
    Console(file=sys.stdout).print(table)


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000).strftime("%Y-%m-%d %H:%M")


def _age_ms(age: str) -> int:
    if not (found := re.fullmatch(r"([0-9]{1,4})([hd])", age)):
        raise click.BadParameter("a whole number of hours or days, such as 12h or 7d", param_hint="--since")
    return int(found[1]) * (HOUR_MS if found[2] == "h" else DAY_MS)
