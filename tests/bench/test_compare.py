"""Two trees compared: the figures by hand, and a tree with itself, each drained and its totals verified."""

import msgspec
import pytest
from click.testing import CliRunner

from loadtest.bench.compare import OTHER, ROOT, THIS, Comparison, Run, compared, main
from loadtest.bench.result import this_machine


def run(tree: str, cpu_us: float, rate: int) -> Run:
    return Run(
        tree, "abc", {"intake": 900, "redis": 900}, rate, {"intake": cpu_us - 5, "redis": 5.0}, cpu_us, []
    )


def test_the_ratios_are_those_of_the_median_runs():
    runs = [run(OTHER, 40.0, 40_000), run(THIS, 90.0, 1), run(OTHER, 50.0, 50_000), run(THIS, 20.0, 60_000)]
    runs += [run(OTHER, 400.0, 1), run(THIS, 30.0, 75_000)]
    found = compared(this_machine(), runs)
    assert (found.medians[OTHER], found.medians[THIS]) == (runs[2], runs[5])
    assert (found.cpu_ratio, found.rate_ratio) == (0.6, 1.5)


def test_a_tree_without_a_venv_is_refused(tmp_path):
    done = CliRunner().invoke(main, ["--other", str(tmp_path), "--records", "1000"])
    assert "run `make setup`" in str(done.exception)


@pytest.mark.stack
def test_a_tree_and_itself_are_drained_in_turns(tmp_path):
    out = tmp_path / "compare.json"
    arguments = ["--other", str(ROOT), "--records", "3000", "--repeat", "1", "--out", str(out)]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = msgspec.json.decode(out.read_bytes(), type=Comparison)
    assert [run.tree for run in found.runs] == [OTHER, THIS]
    for each in found.runs:
        assert each.differences == []
        assert set(each.cpu_us_per_record) == {"archive", "intake", "kafka", "redis"}
        assert max(each.records.values()) <= 1_500
