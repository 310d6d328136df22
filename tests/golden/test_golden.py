"""What was written once is read for ever: a golden ledger of each format counts, opens, folds and
is decided again.

A failure means that a platform's history is read otherwise than it was written. While a format is not frozen
(docs/changes.md says so) that may be meant: then `python -m tests.golden.make`, and a line in that page.
"""

from pathlib import Path

import msgspec
import pytest

from schemas.kinds import Kind
from schemas.verdicts import Verdict
from tests.golden import ledger
from tests.golden.ledger import Golden, State, decided, opened
from tests.releases.release import PRESENT

FOLDERS = sorted(ledger.FOLDER.glob("format_*"))
AGAIN = "if format 1 is not frozen yet and this is meant: python -m tests.golden.make"


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def golden(request: pytest.FixtureRequest) -> Golden:
    return ledger.read(request.param)


def test_every_record_counts_and_folds_to_the_state_that_was_stored(golden: Golden) -> None:
    state = State(PRESENT)
    for offset, block in enumerate(opened(PRESENT, golden.records)):
        state.take(block, offset)
    told = state.told()
    # A later release may keep more beside what this format's release knew.
    told["head"] = {name: told["head"][name] for name in golden.state["head"]}
    assert told == golden.state, AGAIN


def test_it_is_decided_again_to_the_same_rows(golden: Golden) -> None:
    """Rows, not bytes: how Arrow and zstd pack them belongs to their versions."""
    chain = opened(PRESENT, golden.records)
    for written, again in zip(chain, decided(PRESENT, golden.turns, chain), strict=True):
        assert again.rows.to_pylist() == written.rows.to_pylist(), f"block {written.meta.seq}; {AGAIN}"
        same = msgspec.structs.replace(again.meta, release=written.meta.release)
        assert same == written.meta, f"block {written.meta.seq}; {AGAIN}"


def test_the_files_are_what_the_command_makes() -> None:
    """Of the newest format alone: what is older is not written any more."""
    newest = ledger.read(FOLDERS[-1])
    made = ledger.made(PRESENT, ledger.scenario.story().turns)
    assert made.turns == newest.turns, AGAIN
    for state in (made.state, newest.state):
        del state["head"]["hash"]  # of bytes
    assert made.state == newest.state, AGAIN


def test_every_kind_of_row_and_every_verdict_is_in_it(golden: Golden) -> None:
    rows = [row for block in opened(PRESENT, golden.records) for row in block.rows.to_pylist()]
    assert {row["kind"] for row in rows} == set(Kind)
    # A defect of ours cannot be said; it is a row like any other refusal.
    assert {row["verdict"] for row in rows} == set(Verdict) - {Verdict.INTERNAL_ERROR}


def test_a_golden_ledger_is_small() -> None:
    for folder in FOLDERS:
        assert sum(path.stat().st_size for path in Path(folder).iterdir()) < 256 * 1024
