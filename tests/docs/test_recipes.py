"""The recipes of docs/internals.md, applied to a copy of the code: what they say is enough, and no more."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, fenced_blocks

PAGE = ROOT / "docs" / "internals.md"
GENERATED = {"schemas/json/report.schema.json", "docs/asyncapi.json"}
CHECKS = """
from schemas.block import open_block
from schemas.codec import read_report
from schemas.refusal import Refusal
from schemas.reports import read_reports
from schemas.verdicts import Verdict
from tests.making import record
from tests.unit.test_decide import METRO, decided

def refused(**said):
    value = record(**said)
    alone, together = read_report(value), read_reports([record(), value]).refused.get(1)
    assert alone == together
    return alone

assert read_report(record(vehicle="line-11")).vehicle == "line-11"
assert refused(vehicle="line 11") == Refusal(Verdict.MALFORMED, "vehicle: must match [A-Za-z0-9._:-]{1,64}")
found = refused(vehicle="13800138000")
assert found == Refusal(Verdict.PERSONAL_DATA, "vehicle: holds an ID or phone number")
[row] = decided((METRO, record(vehicle="line-11"))).rows.to_pylist()
assert row["inputs"] == '{"vehicle":"line-11"}'
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The code and its pages, in a repository of its own."""
    for name in ("schemas", "sinks", "stream", "tests", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "data"))
    run(tmp_path, "git", "init", "-q")
    run(tmp_path, "git", "add", ".")
    return tmp_path


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_field_of_a_report_is_one_line_and_an_example(copy: Path) -> None:
    [patch] = [block.text for block in fenced_blocks(PAGE) if block.language == "diff"]
    (copy / "field.patch").write_text(patch)
    run(copy, "git", "apply", "field.patch")
    (copy / "field.patch").unlink()
    by_hand = changed(copy)
    assert by_hand == {"schemas/report.py", "schemas/examples/report/valid_with_a_vehicle.json"}
    added = re.findall(r"^\+(?!\+)", patch[: patch.index("/dev/null")], re.MULTILINE)
    assert len(added) == 1

    run(copy, sys.executable, "-m", "schemas.export")
    assert changed(copy) - by_hand == GENERATED
    run(copy, sys.executable, "-c", CHECKS)
    of_contracts = ("tests/unit/test_contracts.py", "tests/unit/test_codec.py", "tests/unit/test_kept.py")
    run(copy, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *of_contracts)


def changed(copy: Path) -> set[str]:
    """The files that are not as they were, without what Python makes beside them."""
    told = run(copy, "git", "status", "--porcelain", "--untracked-files=all").splitlines()
    files = {line[3:] for line in told if not line.startswith("A ")}
    return {name for name in files if "__pycache__" not in name and ".hypothesis" not in name}


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ("vehicle: str | UnsetType = UNSET", "Report.vehicle: exactly one Field must be declared"),
        ("floor: int | UnsetType = UNSET", "Report.floor: exactly one Field must be declared"),
        (
            'note: Annotated[str, Field("", Keep.INPUTS)] | UnsetType = UNSET',
            "Report.note: a text needs a pattern",
        ),
    ],
)
def test_a_field_of_which_too_little_is_declared_is_refused_as_it_is_loaded(
    copy: Path, field: str, fault: str
) -> None:
    report = copy / "schemas" / "report.py"
    before, after = report.read_text().split("    evidence: Annotated")
    report.write_text(f"{before}    {field}\n    evidence: Annotated{after}")
    load = [sys.executable, "-c", "import schemas.report"]
    done = subprocess.run(load, cwd=copy, capture_output=True, text=True, check=False)
    assert fault in done.stderr
