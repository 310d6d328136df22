"""The rebuild that is measured is exact: heads and balances are those of whoever wrote the ledger."""

import subprocess
import sys

import pytest


@pytest.mark.stack
@pytest.mark.parametrize("rows_a_block", ["4", "16384"])
def test_a_small_rebuild_is_verified(rows_a_block: str) -> None:
    command = [sys.executable, "-m", "loadtest.bench.rebuild", "--records", "2000"]
    done = subprocess.run(
        [*command, "--rows-a-block", rows_a_block], capture_output=True, timeout=240, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("2,000 rows in ")
