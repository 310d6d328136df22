"""What `points status` draws of the flow fits 80 columns and hides nothing that is wrong."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from stream.telemetry.flow import flow
from stream.telemetry.screen import drawn, seconds, sparkline
from stream.telemetry.snapshot import Sample, Snapshot, read

LONG = "a-registered-app-with-a-long-id"  # 31 characters, the longest that there may be
VERDICTS = ("credited", "credited_in_part", "cap_reached", "duplicate", "malformed", "internal_error")


def page(scale: int = 1, shards: int = 4, apps: tuple[str, ...] = ("metro", "bus")) -> str:
    lines = [f"points_shards {shards}", "points_rebuilds_total 0"]
    for shard in range(shards):
        at = f'stage="intake",shard="{shard}"'
        lines += [f"points_shard_ready{{{at}}} 1", f"points_shard_seq{{{at}}} {1000 * scale}"]
        lines += [f'points_lag_records{{app="metro",{at}}} {7 * scale}', f"points_lag_seconds{{{at}}} 0.5"]
        lines += [f"points_held_records{{{at}}} 7"]
        lines += [f'points_lag_blocks{{stage="publication",shard="{shard}"}} 2']
        lines += [f'points_shard_seq{{stage="archive",shard="{shard}"}} {990 * scale}']
    for app in apps:
        lines += [f'points_records_received_total{{app="{app}"}} {60_000 * scale}']
        lines += [f'points_verdicts_total{{app="{app}",verdict="{v}"}} {10_000 * scale}' for v in VERDICTS]
    lines += [f"points_cycle_seconds_count {scale}", f"points_cycle_seconds_sum {0.05 * scale}"]
    lines += [f'points_cycle_step_seconds_sum{{step="append"}} {0.04 * scale}']
    lines += [f"points_cycle_rows_sum {900 * scale}", f"points_archived_rows_total {1000 * scale}"]
    return "\n".join(lines) + "\n"


def snapshot(text: str, at_s: float = 0.0) -> Snapshot:
    samples: dict[str, list[Sample]] = {"up": [Sample({"job": "points", "instance": "intake"}, 1.0)]}
    for name, sample in read(text, "intake"):
        samples.setdefault(name, []).append(sample)
    return Snapshot(at_s, samples)


def text_of(seen, width: int, history=None) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(drawn(seen, history or {}, width))
    return console.file.getvalue()


@pytest.mark.parametrize("scale", [1, 7, 300])
@pytest.mark.parametrize("width", [80, 83, 100, 120])
@pytest.mark.parametrize("app", [LONG, "(platform)"])
def test_everything_fits(width: int, scale: int, app: str) -> None:
    many = page(scale, shards=64, apps=(app, "metro", "bus"))
    seen = flow(snapshot(many, 60.0), snapshot(page(), 1.0))
    history = {stage.name: [1.0, 5.0, 3.0] for stage in seen.stages}
    text = text_of(seen, width, history)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text.replace(LONG, ""), "something is cut"
    assert "and 56 that wait less" in text
    assert text.count("✓") == 4


def test_rates_and_means_are_of_what_happened_between() -> None:
    seen = flow(snapshot(page(3), 3.0), snapshot(page(), 1.0))
    assert [stage.per_s for stage in seen.stages] == [120_000, None, 1000]
    assert (seen.cycle.duration_ms, seen.cycle.rows) == (pytest.approx(50), 900)
    assert seen.cycle.step_ms["append"] == pytest.approx(40)


def test_a_worker_that_was_not_there_before_makes_no_rate() -> None:
    assert flow(snapshot(page(3), 3.0), Snapshot(1.0, {})).stages[0].per_s is None


def test_sums_that_differ_are_shown() -> None:
    text = text_of(flow(snapshot(page())), 100)
    assert "✓" in text
    assert "≠" not in text
    broken = page().replace('received_total{app="bus"} 60000', 'received_total{app="bus"} 60001')
    text = text_of(flow(snapshot(broken)), 100)
    assert "≠ 60,000" in text
    assert "LawViolated" in text


def test_shards_that_nobody_has_are_shown_first() -> None:
    lines = [line for line in page(shards=20).splitlines() if 'shard="13"' not in line]
    text = text_of(flow(snapshot("\n".join(lines) + "\n")), 100)
    assert "13     nobody" in text
    assert "ShardUnserved" in text


def test_what_the_archive_had_last_counts_while_it_does_not_run() -> None:
    lines = [line for line in page().splitlines() if 'stage="archive"' not in line]
    now = snapshot("\n".join(lines) + "\n")
    assert flow(now).stages[2].lag is None
    assert flow(now, archived=dict.fromkeys(range(4), 900)).stages[2].lag == 400


def test_a_sparkline_shows_the_last_values_against_the_largest() -> None:
    assert sparkline([9, 0, 1, 4, 8], 4) == " ▂▅█"
    assert sparkline([], 3) == "   "
    assert sparkline([0.001, 1000], 2) == "▁█"


def test_durations_are_short() -> None:
    assert [seconds(s) for s in (None, 0.04, 59.6, 130, 7_300, 200_000)] == [
        "?", "0.0 s", "60 s", "2 min", "2 h", "2 d"
    ]  # fmt: skip
