"""`points upgrade` on a running platform: who works in which release, and a format that begins."""

import json
import os
import subprocess
import sys

import pytest

from schemas.block import RELEASE
from schemas.formats import NEWEST
from schemas.kinds import Kind
from schemas.verdicts import Verdict

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
OLDER = "import schemas.block; schemas.block.RELEASE = '0.1'; from stream.cli import main; main()"


def releases(points) -> set[str]:
    """Of the intake workers that run."""
    told = json.loads(points("upgrade", "status", "--json"))
    assert (told["release"], told["format"]) == (RELEASE, NEWEST)
    assert set(told["in_force"].values()) == {NEWEST}
    return {worker["release"] for worker in told["workers"] if worker["group"] == "intake"}


def test_a_format_begins_once_every_worker_is_of_this_release(platform, points) -> None:
    worker = platform.worker()
    platform.wait_for(lambda: platform.logs().count("shard ready") == platform.settings.shards)
    older = subprocess.Popen(
        [sys.executable, "-c", OLDER, "worker", "intake"],
        env=os.environ | {"POINTS_HOME": str(platform.settings.home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        platform.wait_for(lambda: releases(points) == {"0.1", RELEASE})
        refused = points("upgrade", "activate", "--yes", ends=1)
        assert f"Workers of another release than {RELEASE} run (intake on " in refused
        assert ": 0.1)" in refused
    finally:
        older.terminate()
        older.wait(30)
    platform.wait_for(lambda: releases(points) == {RELEASE})
    assert f"knows: it is {RELEASE}" in points("upgrade", "activate", str(NEWEST + 1), "--yes", ends=1)

    told = points("upgrade", "activate", "--yes", "--by", "li", "--reason", "a test")
    assert told == f"format {NEWEST} is in force in every shard\n"
    assert worker.poll() is None
    rows = [block.rows.to_pylist()[-1] for block in platform.accepted()]
    begun = [(row["verdict"], row["by"]) for row in rows if row["kind"] == Kind.FORMAT]
    assert begun == [(Verdict.COMMAND_APPLIED, "li")] * platform.settings.shards
