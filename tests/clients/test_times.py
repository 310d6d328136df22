"""The calls of docs/apps.md that make a time and its day in each language, and the one that it warns of."""

import datetime as dt
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.codec import Refusal, read_report
from schemas.report import SHANGHAI, Report, to_ms
from tests.clients import toolchains
from tests.clients.conftest import PAGE
from tests.docs.blocks import prose
from tests.making import record

MOMENTS_MS = [
    1_725_681_600_000,  # 2024-09-07 12:00:00 in Shanghai: seconds that are :00
    1_725_724_799_999,  # the last millisecond of that day
    1_725_724_800_000,
    1_725_681_661_050,
]
JAVA = """
import java.time.*;
import java.time.format.*;

public class App {
    public static void main(String[] moments) {
        for (String ms : moments) {
            OffsetDateTime at = Instant.ofEpochMilli(Long.parseLong(ms)).atOffset(ZoneOffset.ofHours(8));
            System.out.println(%s + " " + %s);
        }
    }
}
"""
NODE = """
for (const ms of process.argv.slice(2)) {
  const at = new Date(Number(ms))
  console.log(%s + " " + %s)
}
"""
GO = """package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	for _, ms := range os.Args[1:] {
		number, _ := strconv.ParseInt(ms, 10, 64)
		at := time.UnixMilli(number)
		fmt.Println(%s + " " + %s)
	}
}
"""
PYTHON = """
import datetime as dt, sys
SHANGHAI = dt.timezone(dt.timedelta(hours=8))
for ms in sys.argv[1:]:
    at = dt.datetime.fromtimestamp(int(ms) / 1000, dt.timezone.utc)
    print(%s, %s)
"""
PROGRAMS: dict[str, tuple[str, Callable[[str, Path], list[str]]]] = {
    "Java": (JAVA, toolchains.java),
    "JavaScript": (NODE, toolchains.node),
    "Go": (GO, lambda program, work: toolchains.go({"app.go": program}, work)),
    "Python": (PYTHON, lambda program, work: [sys.executable, "-c", program]),
}


def calls(language: str) -> list[str]:
    """The two calls that the page has for a language."""
    [row] = [line for line in prose(PAGE).splitlines() if line.startswith(f"| {language} | `")]
    return [cell.strip().strip("`") for cell in row.strip("|").split(" | ")[1:]]


def lines(command: list[str]) -> list[list[str]]:
    done = subprocess.run(
        [*command, *map(str, MOMENTS_MS)], capture_output=True, text=True, check=True, timeout=60
    )
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("language", PROGRAMS)
def test_the_page_s_calls_make_a_time_and_a_day_that_fit(language: str, tmp_path: Path) -> None:
    program, command = PROGRAMS[language]
    for ms, (instant, day) in zip(
        MOMENTS_MS, lines(command(program % tuple(calls(language)), tmp_path)), strict=True
    ):
        report = read_report(record(occurred_at=instant, report_id=f"{day}-a"))
        assert isinstance(report, Report), f"{instant} {day}: {report}"
        assert to_ms(report.occurred_at) == ms
        assert day == f"{dt.datetime.fromtimestamp(ms / 1000, SHANGHAI):%Y%m%d}"


def test_java_s_own_text_of_a_time_leaves_seconds_out(tmp_path: Path) -> None:
    _, day = calls("Java")
    assert "**Not Java's `at.toString()`**" in prose(PAGE)
    program = JAVA % ("at.toString()", day)
    read = [
        read_report(record(occurred_at=instant, report_id=f"{day}-a"))
        for instant, day in lines(toolchains.java(program, tmp_path))
    ]
    assert [isinstance(item, Refusal) for item in read] == [True, False, True, False]
    assert read[0].detail.startswith("occurred_at: must be RFC 3339 with seconds")


def test_java_s_last_instant_of_a_day_is_of_that_day(tmp_path: Path) -> None:
    program = JAVA.replace("ofHours(8));", "ofHours(8)).with(LocalTime.MAX);") % tuple(calls("Java"))
    for instant, day in lines(toolchains.java(program, tmp_path)):
        assert "59.999999999+08:00" in instant
        assert isinstance(read_report(record(occurred_at=instant, report_id=f"{day}-a")), Report)
