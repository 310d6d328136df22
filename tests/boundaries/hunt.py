"""Runs the tests that reach a variant, with the variant in place, in a child process of its own.

The tests are collected once, and run once, to see which of them call which functions. Each child is a fork
of that process: it exchanges the code of the module's functions, runs the tests that call the variant's, and
ends with the first that fails. So a variant costs some milliseconds beside its tests, and neither files nor
other variants ever see it. What was made as modules were loaded is as it was.

Tests draw the same examples in every run, so a variant that was noticed once always is.
"""

import gc
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import hypothesis
import pytest

from tests.boundaries.variants import Variant, compiled

ROOT = Path(__file__).parents[2]
TESTS_S_MAX = 20.0  # of the tests of one variant, traced: what none of these notices has no test of its own
CPU_S_MAX = 40  # of a child: a variant may make a loop endless
MEMORY_BYTES_MAX = 8 << 30
_UNNOTICED, _NOTICED, _BROKEN = 0, 1, 2  # how a child ends

Reached = dict[str, tuple[float, set[str]]]  # by test: its seconds, and the functions, "file:qualified name"


class Hunt:
    """A plugin of pytest in place of its loop: `survivors` are the variants that no test notices."""

    def __init__(self, variants: list[Variant]) -> None:
        self.variants = variants
        self.survivors: list[Variant] = []
        self._failed: Path | None = None  # where to name a test that fails with the code as it is
        self.files = {str(ROOT / variant.file): variant.file for variant in variants}

    def pytest_collection(self) -> None:
        hypothesis.settings.register_profile(
            "boundaries", deadline=None, derandomize=True, database=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],  # one failure is enough
            suppress_health_check=[hypothesis.HealthCheck.too_slow],
        )  # fmt: skip
        hypothesis.settings.load_profile("boundaries")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Failed("tests could not be collected")
        session.config.pluginmanager.unregister(name="terminalreporter")
        items = {item.nodeid: item for item in session.items if not item.get_closest_marker("stack")}
        reached = self._reached(list(items.values()))
        functions = _functions(self.files)
        gc.freeze()  # a child shares what is here for longer
        running: dict[int, Variant] = {}
        for variant in self.variants:
            if len(running) == os.cpu_count():
                self._reap(running)
            chosen = [items[test] for test in _likeliest(variant, reached)]
            mine = functions[str(ROOT / variant.file)]
            running[_forked(lambda v=variant, f=mine, c=chosen: _run_with(v, f, c), CPU_S_MAX)] = variant
        while running:
            self._reap(running)
        return True

    def _reap(self, running: dict[int, Variant]) -> None:
        pid, status = os.wait()
        if os.waitstatus_to_exitcode(status) == _BROKEN:
            raise pytest.UsageError(f"this variant cannot be tried: {running[pid]}")
        if status == _UNNOTICED:
            self.survivors.append(running[pid])
            print(f"SURVIVES {running[pid]}", file=sys.__stdout__, flush=True)
        del running[pid]

    def _reached(self, items: list[pytest.Item]) -> Reached:
        """Runs all tests as the code is; they must pass. Each process takes every n-th."""
        n = os.cpu_count() or 1
        found: Reached = {}
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, str(i)) for i in range(n)]
            for i, file in enumerate(files):
                _forked(lambda i=i, file=file: self._trace(items[i::n], file), cpu_s=3_600)
            statuses = [os.wait()[1] for _ in files]
            if any(statuses):
                failed = ", ".join(file.read_text() for file in files if file.exists())[:200]
                raise pytest.UsageError(f"a test fails with the code as it is: {failed}")
            for file in files:
                found |= {test: (s, set(functions)) for test, s, functions in json.loads(file.read_text())}
        return found

    def _trace(self, items: list[pytest.Item], file: Path) -> None:
        found, codes = [], set[CodeType]()
        self._failed = file

        def called(frame: FrameType, event: str, arg: object) -> None:
            codes.add(frame.f_code)

        for item in items:
            codes.clear()
            began = time.process_time()
            sys.settrace(called)
            _run(item, None)
            sys.settrace(None)
            reached = [c for c in codes if c.co_filename in self.files]
            names = {f"{self.files[c.co_filename]}:{_outside(c.co_qualname)}" for c in reached}
            found.append((item.nodeid, time.process_time() - began, sorted(names)))
        file.write_text(json.dumps(found))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            if self._failed:
                self._failed.write_text(report.nodeid)
            os._exit(_NOTICED)


def _likeliest(variant: Variant, reached: Reached) -> list[str]:
    """The tests that reach a variant, those of its own module first, then the fastest; as many as fit."""
    name, own = f"{variant.file}:{_outside(variant.function)}", f"test_{Path(variant.file).stem}.py"
    found = [(own not in test, s, test) for test, (s, functions) in reached.items() if name in functions]
    chosen, sum_s = [], 0.0
    for _, s, test in sorted(found):
        sum_s += s
        if sum_s <= TESTS_S_MAX:
            chosen.append(test)
    return chosen


def _outside(qualified: str) -> str:
    """The function or method that others call, of one that stands inside of it."""
    return qualified.partition(".<locals>")[0]


def _forked(run: Callable[[], None], cpu_s: float) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_s), int(cpu_s) + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
        run()
    except BaseException:  # such as a code that does not fit its function
        os._exit(_BROKEN)
    os._exit(_UNNOTICED)


def _run(item: pytest.Item, following: pytest.Item | None) -> None:
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


def _run_with(variant: Variant, functions: list[FunctionType], items: list[pytest.Item]) -> None:
    _put_in_place(compiled(ROOT, variant), functions)
    for n, item in enumerate(items):
        _run(item, items[n + 1] if n + 1 < len(items) else None)


def _functions(files: Iterable[str]) -> dict[str, list[FunctionType]]:
    """Every function that is loaded from these files, by file."""
    found: dict[str, list[FunctionType]] = {file: [] for file in files}
    for one in gc.get_objects():
        if type(one) is FunctionType and one.__code__.co_filename in found:
            found[one.__code__.co_filename].append(one)
    return found


def _put_in_place(module: CodeType, functions: list[FunctionType]) -> None:
    """Exchanges the code of every function of a module."""
    new = {(code.co_qualname, code.co_firstlineno): code for code in _codes_in(module)}
    for function in functions:
        function.__code__ = new[function.__code__.co_qualname, function.__code__.co_firstlineno]


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    inner: list[Any] = [each for each in code.co_consts if isinstance(each, CodeType)]
    for each in inner:
        yield each
        yield from _codes_in(each)
