"""An app is killed again and again while it hands over, sends and is answered."""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from schemas.verdicts import CODES
from sinks.app_client.outbox import Outbox
from tests.app_client import an_app

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
COUNT = 600
KILLS = 8


def start(platform, outbox_path: Path, first: int, at_s: float) -> subprocess.Popen:
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP": platform.settings.kafka_bootstrap,
        "KAFKA_PASSWORD": platform.settings.password("app-metro"),
        "AT_S": str(at_s),
    }
    arguments = [sys.executable, an_app.__file__, str(outbox_path), str(first), str(COUNT)]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True)


def test_killed_at_any_point_everything_handed_over_is_credited_once_and_answered_so(
    platform, outbox_path
) -> None:
    """kill -9 at random points: one credit and the right verdict for each, in the file and the ledger."""
    chance, at_s = random.Random(7), time.time() - 60
    handed: dict[int, str] = {}
    told: list[set[str]] = []
    doubts, first, ended = 0, 0, False
    while not ended:
        process = start(platform, outbox_path, first, at_s)
        told.append(set())
        lines_left = chance.randrange(1, 3 * COUNT // KILLS) if len(told) <= KILLS else None
        for line in process.stdout:
            what, *rest = line.split()
            if what == "handed":
                handed[int(rest[0])] = rest[1]
                first = int(rest[0]) + 1
            elif what == "told":
                assert rest[0] not in told[-1], "told twice by one process"
                told[-1].add(rest[0])
            ended = what == "done"
            if lines_left is not None and (lines_left := lines_left - 1) <= 0:
                break
        process.kill()
        process.wait()
        process.stdout.close()
        doubts += in_flight(outbox_path)
    assert sorted(handed) == list(range(COUNT))
    assert doubts, "no kill met a record in flight: the test shows nothing"
    assert set().union(*told) == set(handed.values()), "somebody was never told"
    check(platform, outbox_path, handed)


def in_flight(outbox_path: Path) -> int:
    """How many records a killed process left in flight."""
    outbox = Outbox(outbox_path, "metro", COUNT)
    try:
        return outbox.pending().get("in flight", 0)
    finally:
        outbox.close()


def check(platform, outbox_path: Path, handed: dict[int, str]) -> None:
    """The outbox says of each record what the ledger says: credited, once, with these points."""
    credits: Counter = Counter()
    points: dict[str, int] = {}
    for block in platform.accepted():
        columns = (block.rows.column(name).to_pylist() for name in ("verdict", "report_id", "points_milli"))
        for verdict, report_id, points_milli in zip(*columns, strict=True):
            if CODES[verdict] == "credited":
                credits[report_id] += 1
                points[report_id] = points_milli
    outbox = Outbox(outbox_path, "metro", COUNT)
    for report_id in handed.values():
        assert credits[report_id] == 1
        answer = outbox.answer(report_id)
        assert (answer.verdict, answer.points_milli) == ("credited", points[report_id])
    outbox.close()
