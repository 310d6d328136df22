"""The house rules that a machine can check: sizes, layers, lint, nothing stale."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
LINES_MAX, FUNCTION_LINES_MAX, COLUMNS_MAX = 300, 70, 110
FOLDERS = ("schemas", "stream", "sinks", "loadtest", "tests")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_is_short_enough_to_be_read_at_once(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) <= LINES_MAX
    assert not [n for n, line in enumerate(lines, 1) if len(line) > COLUMNS_MAX]
    assert path.name not in ("utils.py", "helpers.py", "common.py"), "name what it does"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_function_is_long_and_no_error_is_swallowed(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < FUNCTION_LINES_MAX, f"{node.name}, line {node.lineno}"
        if isinstance(node, ast.ExceptHandler):
            catches_all = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            silent = all(isinstance(statement, ast.Pass) for statement in node.body)
            assert not (catches_all and silent), f"line {node.lineno}: an error is swallowed"


@pytest.mark.parametrize("command", ["ruff check .", "ruff format --check .", "lint-imports", "mypy"])
def test_linters_pass(command: str) -> None:
    name, *arguments = command.split()
    done = subprocess.run(
        [Path(sys.executable).parent / name, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pure_core_loads_nothing_that_acts() -> None:
    """A decision can be made again anywhere: no framework, no client, no setting, nothing of a worker."""
    files = (ROOT / "stream" / "core").rglob("[a-z]*.py")
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    program = f"import {', '.join(modules)}, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    rooms = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("stream.")}
    assert rooms == {"stream.core", "stream.batches"}
    acting = {"sinks", "faust", "mode", "redis", "confluent_kafka", "clickhouse_connect", "chdb", "structlog"}
    assert not acting.intersection(loaded)


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Each module can be read, and changed, on what stands below it. Imports inside functions count, and
    those for types alone, too."""
    graph = grimp.build_graph("schemas", "sinks", "stream", "loadtest", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))
