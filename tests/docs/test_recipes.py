"""The recipes of docs/internals.md, applied to a copy of the code: what they say is enough, and no more."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.limits import LATE_WINDOW_DAYS
from tests.docs.blocks import ROOT, fenced_blocks

PAGE = ROOT / "docs" / "internals.md"
GENERATED_OF_A_FIELD = {"schemas/json/report.schema.json", "docs/asyncapi.json"}
FIELD_WORKS = """
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
KIND_WORKS = """
from pathlib import Path
from schemas.command import read_command
from schemas.kinds import kind_of
from schemas.topics import COMMANDS
from schemas.verdicts import Verdict
from stream.core.apply import apply
from tests.making import APPS, head
from tests.unit.test_decide import decided

value = Path("schemas/examples/command/quota.json").read_bytes()
block = decided((COMMANDS, value))
[row] = block.rows.to_pylist()
assert (row["kind"], row["verdict"]) == (kind_of(read_command(value, 1)), Verdict.COMMAND_APPLIED)
assert row["detail"] == "app metro: 5000000 rows a day"
after = apply(block, head(), {}, 6).head
rows_per_day = {app.id: app.rows_per_day for app in after.apps.values()}
assert rows_per_day == {"metro": 5_000_000, "bus": APPS["bus"].rows_per_day}
[row] = decided((COMMANDS, value.replace(b"metro", b"taxi"))).rows.to_pylist()
assert (row["verdict"], row["detail"]) == (Verdict.FORBIDDEN_OPERATION, "app: not registered")
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


def apply(copy: Path, number: int) -> str:
    """Applies the page's patch of this number, and returns it."""
    patch = [block.text for block in fenced_blocks(PAGE) if block.language == "diff"][number]
    (copy / "recipe.patch").write_text(patch)
    run(copy, "git", "apply", "recipe.patch")
    (copy / "recipe.patch").unlink()
    return patch


def test_a_field_of_a_report_is_one_line_and_an_example(copy: Path) -> None:
    patch = apply(copy, 0)
    by_hand = changed(copy)
    assert by_hand == {"schemas/report.py", "schemas/examples/report/valid_with_a_vehicle.json"}
    added = re.findall(r"^\+(?!\+)", patch[: patch.index("/dev/null")], re.MULTILINE)
    assert len(added) == 1

    run(copy, sys.executable, "-m", "schemas.export")
    assert changed(copy) - by_hand == GENERATED_OF_A_FIELD
    run(copy, sys.executable, "-c", FIELD_WORKS)
    of_contracts = ("tests/unit/test_contracts.py", "tests/unit/test_codec.py", "tests/unit/test_kept.py")
    run(copy, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *of_contracts)


def test_a_kind_of_command_is_two_files_their_registration_and_an_example(copy: Path) -> None:
    apply(copy, 1)
    by_hand = changed(copy)
    registration = {"schemas/kinds/__init__.py", "stream/core/kinds/__init__.py"}
    kind = {"schemas/kinds/quota.py", "stream/core/kinds/quota.py"}
    assert by_hand == kind | registration | {"schemas/examples/command/quota.json"}

    run(copy, sys.executable, "-m", "schemas.export")
    assert changed(copy) - by_hand == {"schemas/json/command.schema.json"}
    run(copy, sys.executable, "-c", KIND_WORKS)
    of_kinds = ("tests/unit/test_command_kinds.py", "tests/unit/test_contracts.py")
    run(copy, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *of_kinds)


@pytest.mark.parametrize(
    ("file", "line", "fault"),
    [
        ("schemas/kinds/__init__.py", "    QUOTA = 46\n", "a command without a number"),
        ("stream/core/kinds/__init__.py", "    quota.KIND,\n", "a command of schemas/kinds of which nothing"),
    ],
)
def test_a_kind_that_is_registered_by_half_is_refused_as_it_is_loaded(
    copy: Path, file: str, line: str, fault: str
) -> None:
    apply(copy, 1)
    text = (copy / file).read_text()
    assert text.count(line) == 1
    (copy / file).write_text(text.replace(line, ""))
    load = [sys.executable, "-c", "import stream.core.kinds"]
    done = subprocess.run(load, cwd=copy, capture_output=True, text=True, check=False)
    assert fault in done.stderr


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


def test_a_cap_whose_period_is_not_named_is_refused_as_it_is_loaded(copy: Path) -> None:
    """How long a person's use is kept follows from the longest period of a cap."""
    rules = copy / "schemas" / "rules.py"
    text, line = rules.read_text(), "    daily_cap_points: Annotated[int, Meta(ge=1)]\n"
    with_cap = text.replace(line, line + line.replace("daily", "monthly"))
    rules.write_text(with_cap)
    load = [sys.executable, "-c", "from schemas.rules import CAPS_KEPT_DAYS; print(CAPS_KEPT_DAYS)"]
    done = subprocess.run(load, cwd=copy, capture_output=True, text=True, check=False)
    assert "a cap without its period in _CAP_PERIODS_DAYS" in done.stderr
    rules.write_text(
        with_cap.replace('"daily_cap_points": 1}', '"daily_cap_points": 1, "monthly_cap_points": 31}')
    )
    assert run(copy, *load) == f"{LATE_WINDOW_DAYS + 30}\n"
