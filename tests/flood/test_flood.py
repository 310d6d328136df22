"""`points flood` and what it sends: a short run, and that each flood is what its name says."""

import json
import subprocess
import sys

import pytest

from loadtest.environment import inherited
from loadtest.flood.command import KINDS, WITHOUT_QUOTA, Measured, _median
from loadtest.flood.flooder import REPORTS, batches_of
from loadtest.hostile import kinds
from loadtest.hostile.batches import Batch
from schemas.codec import read_report
from schemas.limits import BATCH_UNPACKED_BYTES_MAX, INTAKE_MESSAGE_BYTES_MAX
from schemas.refusal import Refusal
from stream.batches.reader import RawFetch, Unreadable, values_of
from stream.batches.reader import batches_of as batches_in
from tests.batches.making import with_crc

SECONDS = 5


def read(batch: Batch) -> list[bytes] | Unreadable:
    """As our reader finds it, once the broker has written its time into it."""
    data = bytearray(batch.data)
    data[22] |= 8  # attributes: the time is the broker's
    [found] = batches_in(RawFetch(with_crc(bytes(data)), 0, 1 << 40, 1 << 40, 1 << 40, []))
    assert found.next - found.base == batch.offsets
    return values_of(found)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in (REPORTS, WITHOUT_QUOTA)])
def test_each_flood_is_what_its_name_says(kind: str) -> None:
    for batch in batches_of(kind):
        assert len(batch.data) < INTAKE_MESSAGE_BYTES_MAX, "the broker would not take it"
        values = read(batch)
        if kind == "unreadable":
            assert isinstance(values, Unreadable)
            continue
        assert isinstance(values, list)
        assert len(values) == batch.offsets
        if kind == "tiny":
            assert len(values) > len(batch.data)
        elif kind == "large":
            assert sum(map(len, values)) > 0.99 * BATCH_UNPACKED_BYTES_MAX
        else:
            assert all(isinstance(read_report(value), Refusal) for value in values)


@pytest.mark.parametrize("name", [*kinds.unreadable()])
def test_nobody_could_read_these(name: str) -> None:
    assert isinstance(read(kinds.unreadable()[name]), Unreadable)


@pytest.mark.parametrize("name", [*kinds.strange()])
def test_java_reads_these_and_so_do_we(name: str) -> None:
    assert len(read(kinds.strange()[name])) == kinds.strange()[name].offsets


def test_the_median_is_a_run_that_was() -> None:
    runs = [Measured("tiny", 1, 600, 20.0, p99_ms, 900.0) for p99_ms in (300.0, 100.0, 200.0)]
    assert _median(runs) is runs[2]


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_a_short_run_answers_every_probe_and_writes_its_result(tmp_path) -> None:
    command = [sys.executable, "-m", "stream.cli", "flood", "--kind", "unreadable", "--json"]
    done = subprocess.run(
        [*command, "--seconds", str(SECONDS), "--out", str(tmp_path / "flood.json")],
        capture_output=True,
        text=True,
        timeout=280,
        env=inherited(),
    )
    result = json.loads(done.stdout)
    assert result == json.loads((tmp_path / "flood.json").read_text())
    quiet, flooded = result["floods"]
    assert (quiet["kind"], quiet["records_s"], flooded["kind"]) == ("none", 0, "unreadable")
    assert flooded["records_s"] > 0
    assert flooded["probes"] > 5 * SECONDS, "ten a second, each of them answered"
    assert done.returncode == any(one["p99_ms"] >= 1_000 for one in result["floods"]), done.stderr
