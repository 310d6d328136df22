"""Some of the fuzzer's cases in every run; `make fuzz` runs a million."""

import subprocess
import sys

from tests.batches import fuzz
from tests.batches.faults import KINDS

CASES = 50_000


def test_no_batch_ends_the_reader_or_takes_more_memory_than_its_bound() -> None:
    """In a process of its own, with an address space of 1 GiB."""
    command = [sys.executable, "-m", "tests.batches.fuzz", str(CASES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert f"{CASES:,} cases of {len(KINDS)} kinds" in done.stdout


def test_a_million_cases_have_20_000_of_each_kind() -> None:
    assert 1_000_000 // len(KINDS) >= 20_000


def test_a_case_is_the_same_every_time() -> None:
    assert fuzz.run(len(KINDS), seed=7) == fuzz.run(len(KINDS), seed=7)
