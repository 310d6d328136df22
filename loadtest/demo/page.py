"""The demo's last page: what went in, what became of it, what it adds up to, whether all accounts agree."""

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loadtest.demo.distance import ASSUMPTIONS
from loadtest.demo.figures import Difference
from loadtest.demo.generator import HONEST
from loadtest.demo.reports import APPS
from loadtest.demo.result import MG_PER_T, Answered, Result
from loadtest.demo.ridecode import APP as RIDECODE
from loadtest.demo.ridecode import Way
from loadtest.demo.rogue import Account
from loadtest.demo.story import Line, Story
from loadtest.demo.taps import SATURDAY, Kind
from schemas.verdicts import Verdict

DIFFERENCES_MAX = 5
DETAIL_MAX = 60  # characters; a page of 80 columns has room for two lines of an example
_WAYS = {
    Way.AFTER: "after metro has its outcome",
    Way.BEFORE: "before metro sends",
    Way.AT_ONCE: "at once",
}
_ORDER = {verdict.code: int(verdict) for verdict in Verdict}


def show(result: Result, console: Console, keep: bool) -> None:
    """Prints everything, the verdict on the run last but one, how to go on last."""
    _input(result, console)
    _verdicts(result, console)
    _trips_of_two_apps(result, console)
    _amounts(result, console)
    if result.story:
        _story(result.story, console)
    for answered in result.answered:
        _answer(answered, console)
    _speed(result, console)
    if result.hostile:
        _hostile(result.hostile, console)
    _reconciled(result, console)
    _go_on(result, console, keep)


def _input(result: Result, console: Console) -> None:
    taps, behaviours = result.taps, result.behaviours
    kinds = {kind: sum(tap.kind == kind for tap in taps.taps) for kind in Kind}
    dates = [timed.saturday.date for timed in result.timed]
    console.rule("[bold]replayed[/]: real taps on other Saturdays")
    console.print(
        f"{escape(result.taps_path.name)}: {taps.rows:,} taps: {kinds[Kind.ENTRY]:,} metro entries, "
        f"{kinds[Kind.EXIT]:,} metro exits, {kinds[Kind.BUS]:,} bus."
    )
    left_out = {
        "metro trips that end where they began": behaviours.same_station,
        "taps without a distance": behaviours.no_distance,
        "taps of other kinds": taps.other_kinds,
        "taps of other weeks": taps.other_weeks,
    }
    told = "; ".join(f"{count:,} {what}" for what, count in left_out.items() if count)
    console.print(
        f"{len(behaviours.reported):,} behaviours are reported" + (f"; left out: {told}." if told else ".")
    )
    if not behaviours.reported:
        console.print("[bold]This file has nothing to report: all that follows is zero.")
    console.print(
        f"The day, {SATURDAY}, is replayed on {len(dates)} Saturdays, {dates[0]} to {dates[-1]}, on a "
        "simulated clock: the taps are older than the regulation."
    )
    console.print("Assumptions of the apps (the methodology is official, a distance from a fare is not):")
    for assumption in ASSUMPTIONS:
        console.print(f"  - {assumption}", highlight=False)
    console.print(
        "A seeded share of the records is broken, late, repeated or not allowed, on purpose; "
        f"all of them are in {escape(str(result.home / 'manifest.jsonl'))}.",
        highlight=False,
    )


def _verdicts(result: Result, console: Console) -> None:
    examples: dict[tuple[str, str], Line] = {}
    for app, client in result.clients.items():
        for place, record in client.sent.items():
            examples.setdefault((app, client.outcomes[place].verdict), Line(record, client.outcomes[place]))
    verdicts, _, _ = result.figures.by_app()
    table = Table(title="What became of every record", box=box.SIMPLE_HEAD)
    for heading in ("app", "verdict", "records"):
        table.add_column(heading, justify="right" if heading == "records" else "left", no_wrap=True)
    table.add_column("one of them", overflow="fold")
    for app in APPS:
        counts = sorted(
            (item for item in verdicts.items() if item[0][0] == app),
            key=lambda item: -_ORDER[item[0][1]],
        )
        for (_, verdict), count in counts:
            table.add_row(app, verdict, f"{count:,}", _example(examples.get((app, verdict))))
        table.add_row(app, "[bold]sent", f"[bold]{len(result.clients[app].sent):,}", "", end_section=True)
    console.print(table)


def _example(line: Line | None) -> str:
    if line is None:
        return ""
    outcome, record = line.outcome, line.record
    name = short(outcome.report_id) or f"line {record.line}, {record.kind}"
    if outcome.points_milli:
        return f"{name}: {points(outcome.points_milli)} points, valid to {outcome.expires_on}"
    if outcome.reduction_mg:
        return f"{name}: {outcome.reduction_mg / 1000:,.1f} g recorded, no points"
    detail = outcome.detail or "the first answer stands"
    return escape(f"{name}: {detail if len(detail) <= DETAIL_MAX else detail[:DETAIL_MAX] + '…'}")


def _trips_of_two_apps(result: Result, console: Console) -> None:
    table = Table(title="Metro trips that ridecode reports, too", box=box.SIMPLE_HEAD)
    for heading in ("ridecode reports them", "trips", "metro has them", "ridecode has them", "nobody"):
        table.add_column(heading, justify="left" if heading.startswith("ridecode reports") else "right")
    trips = result.trips_of_two_apps()
    for way, told in _WAYS.items():
        held = [trips[way, app] for app in ("metro", RIDECODE, "")]
        table.add_row(told, f"{sum(held):,}", *(f"{count:,}" for count in held))
    console.print(table)
    console.print(
        "The first valid report has the trip, the other is already_claimed. Where the order is known, each "
        "verdict was predicted (metro's own may be late or refused); at once: one of each, whoever is first.",
    )


def _amounts(result: Result, console: Console) -> None:
    table = Table(title="What it adds up to", box=box.SIMPLE_HEAD)
    for heading in ("app", "reduction t CO2e", "points"):
        table.add_column(heading, justify="left" if heading == "app" else "right")
    _, reduction_mg, points_milli = result.figures.by_app()
    for app in APPS:
        table.add_row(app, tonnes(reduction_mg[app]), points(points_milli[app]))
    table.add_row("[bold]all", tonnes(reduction_mg.total()), points(points_milli.total()))
    console.print(table)
    console.print(
        "1 g is 1 point (illustrative); a person's points of one day end at 1,000, the reduction does not.",
        justify="center",
    )
    lots = Table(title="Lots by the month in which they expire", box=box.SIMPLE_HEAD)
    for heading in ("month", "last valid day", "people", "points"):
        lots.add_column(heading, justify="right")
    for day, milli in sorted(result.points_milli_by_day().items()):
        people = sum(day in own for own in result.figures.lots.values())
        lots.add_row(day[:7], day, f"{people:,}", points(milli))
    console.print(lots)


def _story(story: Story, console: Console) -> None:
    console.rule(f"One card's story: person {story.uid}")
    taps = Table(title="its taps of that Saturday", box=box.SIMPLE_HEAD)
    for heading in ("time", "kind", "where", "full fare"):
        taps.add_column(heading, justify="right" if heading == "full fare" else "left")
    for tap in story.taps:
        fare = f"{tap.fare_fen / 100:.2f}" if tap.fare_fen else "-"
        taps.add_row(f"{tap.at:%H:%M:%S}", tap.kind, f"{tap.company} {tap.station}".strip() or "-", fare)
    console.print(taps)
    table = Table(title="its records and their outcomes, in the ledger's order", box=box.SIMPLE_HEAD)
    for heading in ("report", "app", "verdict", "g CO2e", "points", "balance"):
        right = heading in ("g CO2e", "points", "balance")
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading != "verdict")
    for record, outcome in story.lines:
        sent_as = "" if record.kind == HONEST else f"\n[dim]sent as {record.kind}[/]"
        table.add_row(
            short(outcome.report_id) or "(unread)",
            record.app,
            outcome.verdict + sent_as,
            f"{outcome.reduction_mg / 1000:,.1f}",
            points(outcome.points_milli),
            points(outcome.balance_milli) if outcome.uid else "",
        )
    console.print(table)
    lots = " + ".join(f"{points(milli)} to {day}" for day, milli in sorted(story.lots.items()))
    console.print(f"lots in Redis: {lots or 'none'} = [bold]{points(sum(story.lots.values()))} points[/]")
    told = sum(line.outcome.points_milli for line in story.lines)
    console.print(f"sum of the outcomes: {points(told)} points")


def _answer(answered: Answered, console: Console) -> None:
    console.rule(answered.question)
    console.print(escape(answered.sql), style="dim", highlight=False)
    table = Table(box=box.SIMPLE_HEAD)
    for name, column in zip(answered.names, _columns(answered), strict=True):
        table.add_column(name, justify="right" if all(map(_is_number, column)) else "left", overflow="fold")
    for row in answered.rows:
        table.add_row(*map(escape, row))
    console.print(table)


def _columns(answered: Answered) -> list[tuple[str, ...]]:
    return list(zip(*answered.rows, strict=True)) or [()] * len(answered.names)


def _speed(result: Result, console: Console) -> None:
    console.rule("How fast")
    for worker in result.kills:
        console.print(f"kill -9 of the {worker} worker; restarted at once")
    console.print(
        f"{result.records:,} records in {result.seconds:.1f} s from first sent to last outcome: "
        f"[bold]{result.records / result.seconds:,.0f} reports/s[/]"
    )
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("process", "CPU s", "us per report"):
        table.add_column(heading, justify="left" if heading == "process" else "right")
    for name, seconds in result.cpu_s.most_common():
        each = f"{seconds / result.records * 1e6:.1f}" if result.records else ""
        table.add_row(name, f"{seconds:.1f}", each)
    console.print(table)


def _hostile(account: Account, console: Console) -> None:
    console.rule("The app that keeps no rule")
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("verdict", "outcomes", "offsets"):
        table.add_column(heading, justify="left" if heading == "verdict" else "right")
    for verdict, offsets in sorted(account.offsets.items(), key=lambda item: _ORDER[item[0]]):
        table.add_row(verdict, f"{account.outcomes[verdict]:,}", f"{offsets:,}")
    table.add_row("[bold]all", f"[bold]{account.outcomes.total():,}", f"[bold]{account.offsets.total():,}")
    console.print(table)
    console.print(
        f"The broker acknowledged {account.acknowledged:,} offsets of it and refused "
        f"{account.refused_batches:,} batches; {account.without:,} offsets have no verdict, "
        f"{account.more_than_one:,} more than one."
    )


def _reconciled(result: Result, console: Console) -> None:
    if result.races:
        console.print(
            f"In {result.races_over('claim'):,} cases two apps reported a person's trip at once, in "
            f"{result.races_over('cap'):,} a day's cap bound a person's reports of several apps: the sum was "
            "predicted; its split follows from the order in which the ledger has them."
        )
    persons = len(set().union(*(part.lots for part in result.parts.values())))
    if not result.differences:
        _, _, points_milli = result.figures.by_app()
        console.print(
            f"[bold green]reconciled: {' == '.join(result.parts)}[/]\n({persons:,} people, "
            f"{result.records:,} records, {points(points_milli.total())} points)",
            highlight=False,
        )
        return
    show_differences(result.differences, console)


def show_differences(found: list[Difference], console: Console) -> None:
    """How many values the accounts disagree on, and what each account says about the first of them."""
    console.print(f"[bold red]NOT reconciled: {len(found):,} differences; the first are")
    for difference in found[:DIFFERENCES_MAX]:
        console.print(f"  {difference.what}")
        for part, value in difference.values.items():
            console.print(f"    {part:10} {value}", highlight=False)


def _go_on(result: Result, console: Console, keep: bool) -> None:
    lines = [f"export POINTS_HOME={result.home}"]
    if not keep:
        lines += ["points up", "points worker archive &   # answers queries; or run the demo with --keep"]
    lines += ["points status"]
    if result.story:
        lines += [f"points balance {result.story.uid}"]
    lines += [
        'points query "SELECT verdict, sum(records) FROM verdicts_per_day GROUP BY verdict"',
        "points down",
        f"rm -r {result.home}   # when you are done",
    ]
    console.print("\nTo go on exploring:")
    for line in lines:
        console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)


def short(report_id: str) -> str:
    """A report id that fits into a table."""
    return f"{report_id[:11]}…" if len(report_id) > 12 else report_id


def points(milli: int) -> str:
    """Points with all their three decimals."""
    return f"{milli // 1000:,}.{milli % 1000:03d}"


def tonnes(mg: int) -> str:
    """Tonnes of CO2e, to the gram."""
    return f"{mg / MG_PER_T:,.6f}"


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).lstrip("-").isdigit()
