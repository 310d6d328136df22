"""The yardstick of stages: every stage is run, at both sizes of cycles, on reports that are credited."""

import datetime as dt

import msgspec
from click.testing import CliRunner

from loadtest.bench.reports import Load
from loadtest.bench.stages import STAGES, Clock, Figures, Shard, main
from schemas.limits import CYCLE_ROWS_MAX
from schemas.report import SHANGHAI
from schemas.verdicts import Verdict


def test_every_stage_has_its_cost_at_both_sizes():
    done = CliRunner().invoke(main, ["--records", "64", "--repeat", "1", "--json"], catch_exceptions=False)
    full, small = msgspec.json.decode(done.stdout, type=list[Figures])
    assert (full.rows_a_cycle, full.records) == (CYCLE_ROWS_MAX, 64)
    assert (small.rows_a_cycle, small.records) == (4, 4)
    for figures in (full, small):
        assert tuple(figures.us_a_report) == STAGES
        assert sum(figures.us_a_report.values()) > 0


def test_what_is_timed_is_the_work_and_its_state_goes_on():
    today = dt.datetime.now(SHANGHAI)
    load = Load(2_000, 1, today.date())
    records = list(load.records())
    shard = Shard(Clock(2), int(today.timestamp() * 1_000))
    blocks = [shard.decide(records[at : at + 500]) for at in range(0, 2_000, 500)]
    verdicts = [v for block in blocks for v in block.rows.column("verdict").to_pylist()]
    assert {Verdict(code).code: verdicts.count(code) for code in set(verdicts)} == load.totals().verdicts
