"""`points send`, where no broker is needed: files that are something else, and refusals told by reason."""

import gzip
import io
import json
import re
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from sinks.app_client import Answer
from sinks.app_client.standing import standing_of
from stream.errors import OperatorError
from stream.operate.commands.send import check_file, sendable
from stream.operate.commands.tally import EXAMPLES_MAX, GROUPS_SHOWN_MAX, Tally, show
from tests.making import record

REPORTS = [record("a"), record("b")]
LINES = b"".join(report + b"\n" for report in REPORTS)
ARRAY = b"[" + b",\n ".join(REPORTS) + b"]\n"


def checked(path: Path) -> bytes:
    """What is read of a file after it was checked."""
    with path.open("rb") as file:
        check_file(file, "metro")
        return file.read()


@pytest.mark.parametrize(
    ("content", "what", "has_command"),
    [
        (b"", "empty", False),
        (b"\n \n", "empty", False),
        (b"\xef\xbb\xbf", "empty", False),
        (LINES.decode().encode("utf-16"), "UTF-16", True),
        (LINES.decode().encode("utf-16-le"), "UTF-16", True),
        (LINES.decode().encode("utf-16-be"), "UTF-16", True),
        (gzip.compress(LINES), "compressed by gzip", True),
        (ARRAY, "a JSON array", True),
        (b"\n" + ARRAY, "a JSON array", True),
        (b"PK\x03\x04rest", "a zip archive or a spreadsheet", False),
        (json.dumps(json.loads(REPORTS[0]), indent=1).encode(), "JSON with a report on several lines", False),
    ],
)
def test_a_file_of_another_shape_is_told_once_by_name_with_the_way_out(
    tmp_path: Path, content: bytes, what: str, has_command: bool
) -> None:
    path = tmp_path / "my trips"
    path.write_bytes(content)
    with pytest.raises(OperatorError) as caught:
        checked(path)
    assert caught.value.message == f"{path} is {what}, not one JSON object a line."
    if has_command:
        told = re.fullmatch(r"run `(.*)`\.", caught.value.todo)[1]
        shell = f"points() {{ test \"$*\" = 'send - --as metro' && cat; }}; {told}"
        made = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", shell], capture_output=True, check=True
        ).stdout
        assert [json.loads(line) for line in made.splitlines()] == [json.loads(report) for report in REPORTS]


def test_a_byte_order_mark_in_front_of_the_lines_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "trips.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINES)
    assert checked(path) == LINES
    path.write_bytes(LINES)
    assert checked(path) == LINES


def answered(tally: Tally, report_id: str, verdict: str, detail: str) -> None:
    tally.answered(Answer(report_id, standing_of(verdict), verdict, detail, 0, 0, 0, ""))


def shown(tally: Tally) -> str:
    console = Console(file=io.StringIO(), width=200)
    show(tally, console)
    return console.file.getvalue()


def test_equal_refusals_are_one_reason_with_their_first_lines_in_order() -> None:
    tally = Tally()
    lines = [b"%d" % n for n in range(20)] + [record(f"n{n}") for n in range(40)]
    assert len(list(sendable(lines, tally))) == 40
    for n in reversed(range(40)):
        reason = "steps" if n % 2 else "items"
        answered(tally, f"20240907-n{n}", "activity_invalid", f"activity: not in {reason}")
    kept, items, steps = tally.refused()
    assert (kept.verdict, kept.sent, kept.count, kept.first_lines) == (
        "malformed",
        False,
        20,
        [1, 2, 3, 4, 5],
    )
    assert (items.count, items.first_lines) == (20, [21, 23, 25, 27, 29])
    assert (steps.count, steps.first_lines) == (20, [22, 24, 26, 28, 30])
    assert len(steps.first_lines) == EXAMPLES_MAX
    assert tally.refused_lines == 60
    text = shown(tally)
    assert (
        "20 lines (22, 24, 26, 28, 30, ...): activity_invalid: activity: not in steps\n"
        "  to do: do not repeat; a corrected report needs a new id\n"
    ) in text
    assert "20 lines (1, 2, 3, 4, 5, ...): malformed, not sent: record: must be an object" in text
    assert tally.plain()["refused"][2] == {
        "verdict": "activity_invalid",
        "detail": "activity: not in steps",
        "sent": True,
        "count": 20,
        "first_lines": [22, 24, 26, 28, 30],
        "to_do": "do not repeat; a corrected report needs a new id",
    }


def test_places_and_sizes_do_not_make_a_reason_another_one() -> None:
    tally = Tally()
    cut = [record("n" * n)[:-1] + b"x}" for n in range(1, 9)]
    large = [record(evidence="x" * n) for n in (17_000, 18_000)]
    assert not list(sendable(cut + large, tally))
    assert [(group.verdict, group.count) for group in tally.refused()] == [("malformed", 8), ("too_large", 2)]


def test_many_reasons_are_cut_and_counted() -> None:
    tally = Tally()
    for n in range(GROUPS_SHOWN_MAX + 3):
        tally.kept_back(n + 1, "malformed", "a" * n)
    assert "... and 3 other reasons" in shown(tally)
    assert shown(tally).count("to do:") == GROUPS_SHOWN_MAX


def test_another_record_under_a_used_id_is_told_what_is_right() -> None:
    """In one file it is kept back; where another run sent the first, only the app can know: it is said."""
    tally = Tally()
    first, changed = record("a"), record("a", activity={"distance_m": 2})
    assert list(sendable([first, changed, first], tally)) == [first]
    [group] = tally.refused()
    assert (group.verdict, group.first_lines) == ("id_taken", [2])
    assert group.detail == "report_id: line 1 has it, with other content"
    assert group.to_do == "give one of the two another id: an id names one record for ever"
    answered(tally, "20240907-a", "duplicate", "")
    text = shown(tally)
    assert "nothing: the first answer stands; a record that was changed needs a new id" in text
    assert re.search(r"same as an earlier line \(not sent\) +│ +1 │ nothing", text)
    assert re.search(r"id_taken \(not sent\) +│ +1 │ give one of the two another id", text)
    assert tally.refused_lines == 1


@pytest.mark.parametrize("report_id", ["20240907", "20240906-a"])
def test_a_wrong_id_is_not_sent_again_under_the_same_id(report_id: str) -> None:
    tally = Tally()
    assert not list(sendable([record(report_id=report_id)], tally))
    [group] = tally.refused()
    assert "needs another id" in group.detail
    assert group.to_do.endswith("under the same id unless the id is what is wrong")
