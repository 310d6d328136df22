"""The demo itself, on the embedded stack: small slices of the packaged taps, with and without kill -9."""

import csv
import gzip
import json
import subprocess
import sys

import pytest

from loadtest.demo.taps import PACKAGED
from loadtest.environment import inherited

pytestmark = pytest.mark.stack
TIMEOUT_S = 240


def points_demo(*arguments):
    """Runs `points demo` as a user does; its exit code, output and complaints."""
    command = [sys.executable, "-m", "stream.cli", "demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=inherited())


@pytest.fixture(scope="module")
def slice_file(tmp_path_factory):
    """1,500 taps in the form of other slices: columns in another order, quoted, '-' for missing."""
    with gzip.open(PACKAGED, "rt", encoding="utf-8", newline="") as packaged:
        rows = list(csv.DictReader(packaged))[:1500]
    path = tmp_path_factory.mktemp("taps") / "slice.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, sorted(rows[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows({name: value or "-" for name, value in row.items()} for row in rows)
    return path


@pytest.mark.timeout(TIMEOUT_S + 30)
def test_a_slice_with_both_workers_killed_is_reconciled_on_one_page(slice_file, tmp_path):
    kills = ("--kill", "intake@40%", "--kill", "archive@60%")
    run = points_demo("--taps", slice_file, "--home", tmp_path / "home", "--saturdays", "4", *kills)
    assert run.returncode == 0, run.stderr + run.stdout
    for told in (
        "replayed",
        "reconciled: oracle == redis == ledger == clickhouse == outcomes",
        "kill -9 of the intake worker",
        "kill -9 of the archive worker",
        "One card's story",
        "Metro trips that ridecode reports, too",
        "at once",
        "reports/s",
        "2026-09-30",
        f"export POINTS_HOME={tmp_path}/home",
    ):
        assert told in run.stdout, told


@pytest.mark.timeout(TIMEOUT_S + 30)
def test_a_file_with_one_behaviour(tmp_path):
    taps = tmp_path / "taps.csv"
    taps.write_text(
        "deal_date,card_no,deal_type,deal_value,equ_no\n2018-09-01 08:00:00,A,巴士,200,1\n", "utf-8"
    )
    run = points_demo("--taps", taps, "--home", tmp_path / "home", "--saturdays", "2", "--json")
    assert run.returncode == 0, run.stderr + run.stdout
    result = json.loads(run.stdout)
    assert result["reconciled"] is True
    assert (result["behaviours"], result["points_milli_by_expiry"]) == (1, {"2026-09-30": 2 * 134_500})
    assert (result["trips_of_two_apps"], result["races"]) == ([], {"claim": 0, "cap": 0})
