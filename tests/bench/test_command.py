"""The command: a whole small run, with a stack of its own; and what it does when totals do not hold."""

import subprocess
import sys

import msgspec
import pytest
from click.testing import CliRunner

from loadtest.bench import command
from loadtest.bench.drain import Drained
from loadtest.bench.peer_run import PeerRun
from loadtest.bench.result import OpenLoop, Result, drain_of, peer_of, this_machine


@pytest.mark.parametrize(("differences", "exit_code"), [([], 0), (["Redis has 1 wrong balances"], 1)])
def test_a_difference_is_exit_1_and_keeps_the_data(tmp_path, monkeypatch, differences, exit_code):
    drain = drain_of(Drained(8.0, 10.0, {"intake": 7.5}), 1_000, {"credited": 1_000}, 1)
    peer = peer_of(PeerRun(5.0, 4.0, []), 1_000)
    result = Result("2024-09-07", 1, this_machine(), drain, peer, 12.5, differences)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(command.tempfile, "mkdtemp", lambda prefix: str(home))
    monkeypatch.setattr(command, "_measured", lambda *_: result)
    done = CliRunner().invoke(command.bench, ["--quick"])
    assert done.exit_code == exit_code
    assert home.exists() == bool(differences)


@pytest.mark.stack
def test_a_small_run_is_verified_and_says_so_in_json(tmp_path):
    out = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, "-m", "stream.cli", "bench", "--records", "3000", "--json", "--out", str(out)],
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    result = msgspec.json.decode(done.stdout, type=Result)
    assert result.differences == []
    assert sum(result.drain.verdicts.values()) == 3_000
    assert set(result.drain.cpu_us_per_record) == {"archive", "intake", "kafka", "redis"}
    assert out.read_bytes().strip() == done.stdout.strip()


@pytest.mark.stack
def test_an_open_loop_answers_every_report_and_is_verified(tmp_path):
    out = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, "-m", "stream.cli", "bench", "--rate", "40", "--seconds", "5", "--out", str(out)],
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    result = msgspec.json.decode(out.read_bytes(), type=OpenLoop)
    assert result.differences == []
    assert result.records == 200
    assert 0 < result.p50_ms <= result.p99_ms <= result.worst_ms
    assert result.records_per_block > 1, "a quarter of a second's records are decided together"
    assert result.ledger_bytes_per_record > 0
