"""docs/faults.md: each kind of fault has its line, and what it says is shown is there."""

import ast
import re
from functools import cache
from typing import NamedTuple

import pytest

from tests.docs.blocks import ROOT, anchor, sections

PAGE = ROOT / "docs" / "faults.md"
LINES = [
    *(f"A{n}" for n in (1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12)),
    *(f"B{n}" for n in (1, 2, 3, 4, 5, 7, 8, 9, 12)),
    *(f"C{n}" for n in range(1, 9)),
    *(f"D{n}" for n in range(1, 9)),
    *(f"E{n}" for n in range(1, 6)),
]
LATER = ("A5", "B3", "B6", "B10", "B11")
OPEN = "(open)"
_LINK = re.compile(r"\[[^\]]+\]\(([a-z]+\.md)#([^)]+)\)")


class Fault(NamedTuple):
    """One line of the tables; `shown_by`: tests, patches of the simulation's mutants, sections of pages."""

    line: str
    kind: str
    promise: str
    shown_by: list[str]


def faults() -> list[Fault]:
    """The lines of the page's tables, in order."""
    rows = re.findall(r"^\| ([A-E][0-9]+) \| (.*?) \| (.*?) \| (.*?) \|$", PAGE.read_text("utf-8"), re.M)
    return [
        Fault(line, kind, promise, re.split(r", (?=tests/|\[|\()", shown))
        for line, kind, promise, shown in rows
    ]


@cache
def names_in(path: str) -> set[str]:
    """The names of the tests in a file."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        node.name for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")
    }


def is_there(shown: str) -> bool:
    """Whether what a line names exists."""
    if link := _LINK.fullmatch(shown):
        page, section = link.groups()
        return section in map(anchor, sections(ROOT / "docs" / page))
    path, _, name = shown.partition("::")
    found = (ROOT / path).is_file()
    return found and (name in names_in(path) if path.endswith(".py") else not name)


def test_every_kind_of_fault_has_one_line_in_order() -> None:
    assert [fault.line for fault in faults()] == LINES


@pytest.mark.parametrize("fault", faults(), ids=lambda fault: fault.line)
def test_what_a_line_names_is_there(fault: Fault) -> None:
    missing = [shown for shown in fault.shown_by if shown != OPEN and not is_there(shown)]
    assert not missing, missing
    assert fault.kind
    assert fault.promise


def test_what_is_not_there_is_noticed() -> None:
    assert is_there("tests/docs/test_faults.py::test_what_is_not_there_is_noticed")
    assert not is_there("tests/docs/test_faults.py::test_nothing")
    assert not is_there("tests/docs/test_nothing.py::test_nothing")
    assert not is_there("tests/docs/test_faults.py")
    assert not is_there("[apps.md](apps.md#nothing)")


def test_what_comes_later_is_said_before_the_tables() -> None:
    before = PAGE.read_text("utf-8").partition("\n## ")[0]
    assert set(re.findall(r"\b[A-E][0-9]+\b", before)) == set(LATER)
