"""What `make boundaries` breaks, and that it tells what no test notices."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.boundaries.__main__ import ROOT, deciding, equivalent, named
from tests.boundaries.variants import compiled, variants_of

TERMS = "stream/core/terms.py"
LEAST_TERMS = 20  # variants of that module, at least


def becomes(tmp_path: Path, expression: str) -> set[str]:
    (tmp_path / "one.py").write_text(f"def f(a, b, c):\n    return {expression}\n")
    return {variant.becomes for variant in variants_of(tmp_path, "one.py")}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a < b", {"a <= b", "a < b - 1"}),
        ("a <= 4", {"a < 4", "a <= 5"}),
        ("a > 4", {"a >= 4", "a > 5"}),
        ("a >= b", {"a > b", "a >= b - 1"}),
        ("1 <= a < b", {"1 < a < b", "0 <= a < b", "1 <= a <= b", "1 <= a < b - 1"}),
        ("a == 4", {"a != 4", "a == 3", "a == 5"}),
        ("a != b", {"a == b"}),
        ("a in b", {"a not in b"}),
        ("a is None", {"a is not None"}),
        ("a and b and c", {"a or b or c", "b and c", "a and c", "a and b"}),
        ("not a", {"a"}),
        ("min(a, b)", {"max(a, b)"}),
        ("a.maximum(b)", {"a.minimum"}),
        ("any(a)", {"all(a)"}),
        ("a + 1", {"a + 0", "a + 2"}),
        ("a[:8]", {":7", ":9"}),
        ("f'{a < b}'", set()),
    ],
)
def test_both_sides_of_each_comparison_are_broken(
    tmp_path: Path, expression: str, expected: set[str]
) -> None:
    assert becomes(tmp_path, expression) == expected


def test_a_variant_is_the_module_with_one_expression_exchanged(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "class A:\n    def f(self, a):\n        return [x for x in a if x < 2]\n"
    )
    found = {}
    for variant in variants_of(tmp_path, "one.py"):
        assert (variant.function, variant.line) == ("A.f", 3)
        scope: dict = {}
        exec(compiled(tmp_path, variant), scope)
        found[variant.becomes] = scope["A"]().f([0, 1, 2, 3])
    assert found == {"x <= 2": [0, 1, 2], "x < 1": [0]}


def test_all_that_decides_can_be_broken_and_what_is_called_equivalent_is_there() -> None:
    found = [variant for file in deciding() for variant in variants_of(ROOT, file)]
    assert not equivalent() - {named(variant) for variant in found}
    for file in deciding():
        ast.parse((ROOT / file).read_text())
    assert len({(variant.file, variant.number) for variant in found}) == len(found)


def hunted(*paths: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "tests.boundaries", *paths]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    return run.returncode, run.stdout


def test_the_terms_have_a_test_on_both_sides_of_each_boundary() -> None:
    code, out = hunted(TERMS, "tests/unit/test_terms.py")
    assert (code, out.count("SURVIVES")) == (0, 0), out


def test_what_no_test_notices_is_told_with_its_place() -> None:
    code, out = hunted(TERMS, "tests/unit/test_clock.py")
    assert code == 1
    assert out.count(f"SURVIVES {TERMS}:") >= LEAST_TERMS
