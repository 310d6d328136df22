"""The flow as `points status` draws it: fits 80 columns, uses more if there are."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from schemas.verdicts import Verdict
from stream.telemetry.flow import STEPS, App, Cycle, Firing, Flow, Shard, Stage

DONE = {"intake": "records/s", "publication": "blocks/s", "archive": "rows/s"}
WAITING = {"intake": "records", "publication": "blocks", "archive": "blocks"}
COLOURS = {"intake": "cyan", "publication": "magenta", "archive": "blue"}
STEP_COLOURS = ("white", "green", "cyan", "yellow", "magenta", "red")
SEVERITIES = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
# The verdicts that have a column of their own, if any record has them and there is room.
COLUMNS = {
    Verdict.CREDITED: "credited",
    Verdict.CREDITED_IN_PART: "in part",
    Verdict.CAP_REACHED: "capped",
    Verdict.DUPLICATE: "duplicate",
    Verdict.MALFORMED: "malformed",
    Verdict.RECORDED_ONLY: "recorded",
    Verdict.ALREADY_CLAIMED: "claimed",
    Verdict.METHODOLOGY_UNKNOWN: "unknown",
    Verdict.TOO_LATE: "too late",
}
BARS = "▁▂▃▄▅▆▇█"
HISTORY = 60  # seconds that a sparkline reaches back
ROWS_MAX = 8  # of apps and of shards: a city has 64 shards
SIDE_BY_SIDE = 100  # columns


def drawn(
    flow: Flow, history: Mapping[str, Sequence[float]], width: int, processes: RenderableType | None = None
) -> Group:
    """Everything. `history`: rates of each stage, the oldest first; none, if this is a single look."""
    inner = width - 4
    narrow = processes is None or width < SIDE_BY_SIDE
    cycle = panel("cycle", _cycle_bar(flow.cycle, inner) if narrow else _cycle_lines(flow.cycle))
    first: list[RenderableType] = [part for part in (processes, cycle) if part]
    if processes and not narrow:
        first = [_beside(processes, cycle)]
    return Group(
        *([_alerts(flow.firing)] if flow.firing else []),
        *first,
        panel("flow", _stages(flow.stages, history, inner)),
        panel("records", _verdicts(flow.apps, inner)),
        panel("shards", _shards(flow.shards)),
    )


def panel(title: str, inside: RenderableType, style: str = "bright_black") -> Panel:
    """A titled frame."""
    return Panel(inside, title=f"[bold]{title}[/]", title_align="left", box=box.ROUNDED, border_style=style)


def table_of(*headings: str, left: int = 1) -> Table:
    """Without lines: headings dimmed, the first `left` columns at the left margin."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < left else "right", no_wrap=True)
    return table


def sparkline(values: Sequence[float], width: int) -> str:
    """The last `width` values as bars, the largest at full height; a value above 0 is never invisible."""
    values = list(values)[-width:]
    top = max(values, default=0) or 1
    return "".join(" " if v <= 0 else BARS[min(7, int(8 * v / top))] for v in values).rjust(width)


def seconds(value: float | None) -> str:
    """A duration that a person takes in at a glance."""
    if value is None:
        return "?"
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if value >= 2 * length_s:
            return f"{value / length_s:.0f} {unit}"
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def number(value: float | None) -> str:
    """A count, or what stands for one that nobody knows."""
    return "?" if value is None else f"{value:,.0f}"


def age(value_s: float | None) -> Text:
    """How long something has waited: green, yellow, red."""
    style = "red" if value_s is None or value_s >= 60 else "yellow" if value_s >= 10 else "green"
    return Text(seconds(value_s), style)


def _beside(left: RenderableType, right: RenderableType) -> Table:
    grid = Table.grid(expand=True)
    grid.add_column(ratio=3)
    grid.add_column(ratio=2)
    grid.add_row(left, right)
    return grid


def _stages(stages: list[Stage], history: Mapping[str, Sequence[float]], width: int) -> Table:
    rates = [f"{number(stage.per_s)} {DONE[stage.name]}" for stage in stages]
    waiting = [f"{number(stage.lag)} {WAITING[stage.name]}" for stage in stages]
    taken = len("publication") + max(map(len, rates)) + max(map(len, waiting)) + 15
    bars = max(5, min(HISTORY, width - taken))
    table = table_of("stage", *(("the last minute"[:bars], "") if history else ()), "waiting", "oldest")
    if history:
        table.columns[1].justify = "left"
    for stage, rate, waits in zip(stages, rates, waiting, strict=True):
        style = COLOURS[stage.name]
        flow = (Text(sparkline(history[stage.name], bars), style), rate) if history else ()
        table.add_row(Text(stage.name, f"bold {style}"), *flow, waits, age(stage.lag_s))
    return table


def _cycle_lines(cycle: Cycle | None) -> RenderableType:
    """Where the time of a cycle goes: a line for each step."""
    if cycle is None:
        return Text("no cycle ended lately", "dim")
    table = table_of("", "", "")
    table.show_header, table.columns[2].justify = False, "left"
    longest_ms = max(cycle.step_ms[step] for step in STEPS) or 1.0
    for step, style in zip(STEPS, STEP_COLOURS, strict=True):
        step_ms = cycle.step_ms[step]
        table.add_row(step, f"{step_ms:.1f} ms", Text("━" * round(12 * step_ms / longest_ms), style))
    return Group(_told(cycle), table)


def _cycle_bar(cycle: Cycle | None, width: int) -> RenderableType:
    """The same in one bar."""
    if cycle is None:
        return Text("no cycle ended lately", "dim")
    bar, names = Text(), Text()
    total_ms = sum(cycle.step_ms[step] for step in STEPS) or 1.0
    for step, style in zip(STEPS, STEP_COLOURS, strict=True):
        bar.append("━" * int(width * cycle.step_ms[step] / total_ms), style)
        names.append(f"{step} ", style).append(f"{cycle.step_ms[step]:.1f}  ", "dim")
    return Group(_told(cycle), bar, names)


def _told(cycle: Cycle) -> Text:
    return Text.assemble((f"{cycle.duration_ms:.0f} ms", "bold"), f" for {cycle.rows:,.0f} rows")


def _verdicts(apps: list[App], width: int) -> RenderableType:
    if not apps:
        return Text("no worker has decided anything yet", "dim")
    totals: dict[str, int] = {}
    for app in apps:
        for verdict, records in app.verdicts.items():
            totals[verdict] = totals.get(verdict, 0) + records
    received = sum(app.received for app in apps)
    number_width = max(len("received"), len(f"{received:,}"))
    law_width = max(len(f"≠ {sum(app.verdicts.values()):,}") if not app.adds_up else 1 for app in apps)
    room = width - max(len(app.app) for app in apps) - 2 * number_width - law_width - 8
    chosen = _columns(totals, room)
    table = table_of("app", "received", "", *(COLUMNS[verdict] for verdict in chosen), "others")
    busiest = sorted(apps, key=lambda app: (app.adds_up, -app.received))[:ROWS_MAX]
    for app in busiest:
        table.add_row(*_cells(app, chosen))
    table.add_row(*_cells(App("all", received, totals), chosen), style="bold")
    return table


def _columns(totals: dict[str, int], room: int) -> list[Verdict]:
    """The verdicts that some record has, as many as there is room for."""
    chosen = []
    for verdict in COLUMNS:
        if records := totals.get(verdict.code):
            room -= max(len(COLUMNS[verdict]), len(f"{records:,}")) + 2
            if room < 0:
                break
            chosen.append(verdict)
    return chosen


def _cells(app: App, chosen: list[Verdict]) -> list[RenderableType]:
    """Received = Σ verdicts is marked with ✓."""
    law = Text("✓", "bold green") if app.adds_up else Text(f"≠ {sum(app.verdicts.values()):,}", "bold red")
    records = [app.verdicts.get(verdict.code, 0) for verdict in chosen]
    records.append(sum(app.verdicts.values()) - sum(records))
    return [app.app, f"{app.received:,}", law, *(f"{n:,}" if n else Text("·", "dim") for n in records)]


def _shards(shards: list[Shard]) -> RenderableType:
    table = table_of("shard", "worker", "seq", "waiting", "oldest", "held", "unsent", "archived", left=2)
    worst = sorted(shards, key=lambda s: (s.ready, -(s.lag_s or 0)))[:ROWS_MAX]
    for shard in sorted(worst, key=lambda s: s.number):
        table.add_row(
            str(shard.number),
            _owner(shard),
            number(shard.seq),
            number(shard.lag_records),
            age(shard.lag_s),
            number(shard.held_records),
            number(shard.unpublished_blocks),
            _archived(shard),
        )
    if len(shards) <= ROWS_MAX:
        return table
    return Group(table, Text(f"and {len(shards) - ROWS_MAX} that wait less", "dim"))


def _owner(shard: Shard) -> Text:
    if shard.worker is None:
        return Text("nobody", "bold red")
    return Text(shard.worker) if shard.ready else Text(f"{shard.worker} recovers", "yellow")


def _archived(shard: Shard) -> Text:
    behind = (f"-{shard.behind} ", "yellow") if shard.behind else ""
    return Text.assemble(behind, "none" if shard.archived_seq == -1 else number(shard.archived_seq))


def _alerts(firing: list[Firing]) -> Panel:
    table = Table.grid(padding=(0, 2, 0, 0))
    for one in firing:
        name = Text(one.alert.removeprefix("Points"), SEVERITIES[one.severity])
        patience = f" (fires after {seconds(one.for_s)})" if one.for_s else ""
        table.add_row(name, Text.assemble(one.told, (patience, "dim")), Text(f"→ {one.section}", "dim"))
    return panel("alerts, and where docs/runbook.md helps", table, "red")
