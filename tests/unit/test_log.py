"""One log: every line in one format, what repeats itself counted, files of a bounded size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from stream.log import FILES_KEPT, Fold, rotate


class Folding:
    """A fold whose clock a test moves."""

    def __init__(self) -> None:
        self.now_s, self.told = 0.0, []
        self.fold = Fold(lambda level, text: self.told.append((level, text)), lambda: self.now_s)

    def shows(self, text: str, level: str = "warning", **more: object) -> bool:
        try:
            self.fold(None, level, {"event": text, "level": level, **more})
        except structlog.DropEvent:
            return False
        return True

    def later(self) -> list:
        """What is told ten seconds later."""
        self.now_s += 10
        self.told.clear()
        self.fold.tick()
        return self.told


def test_the_first_is_shown_and_the_others_are_counted() -> None:
    log = Folding()
    assert [log.shows(f"node {port} is away") for port in range(38)] == [True] + 37 * [False]
    assert log.later() == [(30, "node 37 is away … 37 times more in 10 s")]
    assert not log.shows("node 5 is away")
    assert log.later() == [(30, "node 5 is away … 1 times more in 10 s")]


def test_what_stopped_is_shown_again_when_it_comes_back() -> None:
    log = Folding()
    assert log.shows("away")
    assert log.later() == []
    assert log.shows("away")


def test_lines_that_differ_are_all_shown() -> None:
    log = Folding()
    assert log.shows("away")
    assert log.shows("back")
    assert log.shows("away", "error")
    assert all(log.shows("shard ready", "info") for _ in range(3))
    assert log.later() == []


PROGRAM = """
import asyncio, logging, sys, warnings
from pathlib import Path
import structlog
from stream import log
log.FILE_BYTES_MAX, log._CHECK_BYTES = int(sys.argv[2]), 1
log.configure_log(Path(sys.argv[1]))
def secret(password):
    raise ValueError("bad")
structlog.get_logger().info("ours", shard=3)
logging.getLogger("aiokafka").error("theirs %s", 7)
logging.getLogger("faust").info("not shown")
warnings.warn("python's")
try:
    secret("hunter2")
except ValueError as error:
    structlog.get_logger().error("failed", exc_info=error)
    logging.getLogger("mode").exception("failed too")
for number in range(int(sys.argv[3])):
    structlog.get_logger().info("line", number=number)
print("printed")
"""


def run(home: Path, bytes_max: int = 1 << 20, lines: int = 0) -> Path:
    """Runs PROGRAM as `points` starts a worker; its log."""
    (home / "logs").mkdir()
    path = home / "logs" / "intake.log"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as output:
        argv = [sys.executable, "-c", PROGRAM, str(home), str(bytes_max), str(lines)]
        subprocess.run(argv, stdout=output, stderr=subprocess.STDOUT, check=True, timeout=60)
    return path


def test_all_lines_of_a_process_are_json_where_nobody_watches(tmp_path: Path) -> None:
    path = run(tmp_path)
    assert "\x1b" not in path.read_text()
    assert "hunter2" not in path.read_text()
    *lines, printed = path.read_text().splitlines()
    assert printed == "printed"
    told = [json.loads(line) for line in lines]
    assert [line["event"] for line in told[:2]] == ["ours", "theirs 7"]
    assert "python's" in told[2]["event"]
    assert [line["event"] for line in told[3:]] == ["failed", "failed too"]
    assert all("ValueError: bad" in line["exception"] for line in told[3:])
    assert all(list(line)[:3] == ["time", "level", "event"] for line in told)


def test_a_file_that_points_opened_is_rotated_by_size(tmp_path: Path) -> None:
    path = run(tmp_path, bytes_max=2_000, lines=500)
    files = sorted((tmp_path / "logs").iterdir())
    assert [f.name for f in files] == ["intake.log", *(f"intake.log.{n}" for n in range(1, FILES_KEPT + 1))]
    assert all(f.stat().st_size < 2_500 and f.stat().st_mode & 0o777 == 0o600 for f in files)
    numbers = [
        json.loads(line)["number"]
        for file in reversed(files)
        for line in file.read_text().splitlines()
        if line.startswith("{")
    ]
    assert numbers == list(range(numbers[0], 500))  # nothing between two files is lost
    assert path.read_text().endswith("printed\n")  # standard output moves along


def test_an_operators_own_file_is_left_alone(tmp_path: Path) -> None:
    own = tmp_path / "my.log"
    with own.open("w") as output:
        argv = [sys.executable, "-c", PROGRAM, str(tmp_path), "2000", "500"]
        subprocess.run(argv, stdout=output, stderr=subprocess.STDOUT, check=True, timeout=60)
    assert own.stat().st_size > 20_000
    assert [path.name for path in tmp_path.iterdir()] == ["my.log"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_the_log_ends_no_worker(tmp_path: Path) -> None:
    with open("/dev/full", "w") as output:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.replace('print("printed")', ""), str(tmp_path), "2000", "5"],
            stdout=subprocess.DEVNULL,
            stderr=output,
            timeout=60,
        )
    assert done.returncode == 0


def test_older_files_move_on_and_the_oldest_goes(tmp_path: Path) -> None:
    for number in range(FILES_KEPT + 2):
        (tmp_path / "a.log").write_text(str(number))
        rotate(tmp_path / "a.log")
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {f"a.log.{n}": str(FILES_KEPT + 2 - n) for n in range(1, FILES_KEPT + 1)}
