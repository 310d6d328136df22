"""Every command, query and program of the pages is run; every link and every reference leads somewhere."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.codec import read_report
from schemas.report import Report
from tests.docs.blocks import PAGES, ROOT, Fenced, anchor, fenced_blocks, header_of, links, sections

BLOCKS = [block for page in PAGES for block in fenced_blocks(page)]
RUN = ("sh", "sql", "python", "json")
RUN_AS_APPS = ("java", "js", "go")  # by tests/clients
APPLIED = ("diff",)  # by test_recipes.py
SHOWN = ("text",)  # output: not run, but a table's columns are compared with those of the block before
# What a page may say and is not run here: it takes minutes, fetches from outside or changes the shell.
# `make demo` and `make test` are what .ci/run is for.
ELSEWHERE = re.compile(r"(git clone|cd|make [a-z]+|points (demo|bench|flood)|export POINTS_HOME=)( |$)")
READERS_TOOLS = ("curl", "grep")  # what a page uses and a bare machine lacks
PLACEHOLDER = re.compile(r"<[a-z_ ]+>")
NOW_IN_A_PROGRAM = "dt.datetime.now(SHANGHAI)"  # the platform's clock stands still at a holiday of 2024
NOW_HERE = "dt.datetime(2024, 10, 1, 11, 30, tzinfo=SHANGHAI)"
# Tells when a worker that a page starts is ready, as a reader sees it.
READY = "for i in $(seq 100); do points query 'SELECT 1' >/dev/null 2>&1 && break; sleep 0.3; done"

pytestmark = pytest.mark.timeout(180)


def runnable() -> list[pytest.param]:
    """The blocks that are run, in the order of the pages."""
    return [pytest.param(block, id=block.place) for block in BLOCKS if block.language in RUN]


@pytest.mark.stack
@pytest.mark.parametrize("block", runnable())
def test_a_block_does_what_its_page_says(block: Fenced, platform, tmp_path) -> None:
    text = block.text.replace("<uid>", platform.uid)
    if "<password>" in text:
        url, password = platform.analyst()
        text = text.replace("<url>", url).replace("<password>", password)
    if block.language == "json":
        check_json(json.loads(text), platform)
        return
    assert not PLACEHOLDER.search(text), "a placeholder that the test does not know"
    if block.language == "sql":
        output = platform.points("query", text)
        assert not re.search(r"^0 rows", output, re.MULTILINE), "finds nothing"
        assert re.search(r"^│ +[^ …]", block.sample, re.MULTILINE), f"{block.place} shows no answer"
    elif block.language == "python":
        output = run_program(text, platform, tmp_path)
    else:
        output = run_shell(text, platform, tmp_path)
    assert header_of(block.sample) in ([], header_of(output)), f"not the columns of:\n{output}"


def run_shell(text: str, platform, folder: Path) -> str:
    """Runs the lines of a block in one shell; afterwards the platform is whole and has lost nothing."""
    lines, workers = commands_of(text)
    if not lines:
        return ""
    if missing := [name for name in READERS_TOOLS if f"{name} " in text and not shutil.which(name)]:
        pytest.skip(f"no {missing[0]} here")
    before, archived = platform.balances(), platform.archived()
    for name in workers:
        platform.stop_worker(name)
    log = folder / "output"
    with log.open("w") as output:  # not a pipe: a worker that a block starts would keep it open
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
            cwd=folder,
            env=platform.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
    assert done.returncode == 0, log.read_text()
    if any(re.match(r"points (up|down|worker)\b", line) for line in lines):
        for name in workers:
            platform.wait_for(lambda name=name: platform.runs(name))
        platform.ensure()
        platform.wait_for(lambda: platform.archived() >= archived)
        platform.wait_for(lambda: platform.balances() == before)
    return log.read_text()


def commands_of(text: str) -> tuple[list[str], list[str]]:
    """The lines to run, and the workers that they start, always in the background."""
    lines, workers = [], []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        command = line.split(" #")[0].strip()
        if not command or command.startswith("#") or ELSEWHERE.match(command):
            continue
        if re.match(r"points (query|balance)\b", command) and workers:
            lines.append(READY)
        if started := re.match(r"points worker (\w+)", command):
            workers.append(started[1])
            command = command if command.endswith("&") else f"{command} &"
        lines.append(command)
    return lines, workers


def run_program(text: str, platform, folder: Path) -> str:
    """Runs a Python program as an app or an analyst would, at the platform's time."""
    program = folder / "program.py"
    program.write_text(text.replace(NOW_IN_A_PROGRAM, NOW_HERE))
    done = subprocess.run(
        [sys.executable, program],
        cwd=folder,
        env=platform.app_environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_json(shown: dict, platform) -> None:
    """A record of a page is one that the platform takes, or has the fields of one that it gives."""
    if "verdict" in shown:
        assert list(shown) == list(platform.outcome()), "not the fields of an outcome"
    else:
        read = read_report(json.dumps(shown).encode())
        assert isinstance(read, Report), read


def test_every_block_is_of_a_kind_that_somebody_runs_or_compares() -> None:
    unknown = [
        f"{b.place}: {b.language or 'no language'}"
        for b in BLOCKS
        if b.language not in RUN + RUN_AS_APPS + APPLIED + SHOWN
    ]
    assert not unknown
    assert all(page.read_text().count("```") % 2 == 0 for page in PAGES)


def test_what_is_not_run_here_is_run_by_ci_or_exists() -> None:
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    assert "make demo" in ci
    assert "make test" in ci
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", "\n".join(b.text for b in BLOCKS if b.language == "sh"), re.M):
        assert re.search(rf"^{target}:", makefile, re.M), f"make {target}: no such target"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.exists(), target
        if fragment and found.suffix == ".md":
            assert fragment in map(anchor, sections(found)), target


def test_sections_that_messages_name_are_there() -> None:
    """A message says `see docs/runbook.md, <section>.`; the operator must find it under just this title."""
    named = set()
    for package in ("schemas", "sinks", "stream", "loadtest"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    named |= set(re.findall(r"(docs/\w+\.md)(?:, ([^.:;]+))?", node.value))
    assert ("docs/runbook.md", "ledger") in named
    for page, section in named:
        assert (ROOT / page).exists(), page
        assert not section or section in sections(ROOT / page), f"{page} has no section {section!r}"


def rows_named_in(page: str) -> set[str]:
    """The names that stand, as code, in the first cells of the tables of a page."""
    cells = re.findall(r"^\| (`[^|]+) \|", (ROOT / "docs" / page).read_text("utf-8"), re.M)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.stack
def test_the_pages_name_every_field_and_every_column(platform) -> None:
    assert rows_named_in("apps.md") >= {"kind", *Report.__struct_fields__, *platform.outcome()}
    columns = platform.query("SELECT table, name FROM system.columns WHERE database = currentDatabase()")
    named = rows_named_in("analyst.md")
    missing = [f"{c['table']}.{c['name']}" for c in columns if not {c["table"], c["name"]} <= named]
    assert not missing
