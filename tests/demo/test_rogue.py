"""The demo's fourth app: how its offsets are counted, and that it costs the three nothing."""

import json
from collections import Counter

import pytest

from loadtest.demo.rogue import Span, account_of, differences
from schemas.outcome import VERSION, Outcome
from tests.demo.test_demo import TIMEOUT_S, points_demo, slice_file  # noqa: F401 - a fixture


def told(partition: int, first: int, last: int, verdict: str, seq: int) -> Outcome:
    place = ("intake.rogue", "id", partition, first, last, partition, seq, 0)
    return Outcome(VERSION, "", verdict, "", 0, 0, 0, "", *place)


def test_each_acknowledged_offset_is_counted_by_ranges() -> None:
    spans = [Span(0, 0, 4), Span(0, 5, 5), Span(2, 7, 9)]
    outcomes = [
        told(0, 0, 4, "unreadable_batch", 1),
        told(0, 0, 4, "unreadable_batch", 1),  # published again
        told(0, 5, 5, "malformed", 2),
        told(2, 7, 9, "unreadable_batch", 1),
    ]
    account = account_of(spans, outcomes, 3)
    assert (account.acknowledged, account.refused_batches) == (9, 3)
    assert account.outcomes == {"unreadable_batch": 2, "malformed": 1}
    assert account.offsets == {"unreadable_batch": 8, "malformed": 1}
    assert differences(account, Counter(account.offsets)) == []


def test_an_offset_without_a_verdict_or_with_two_is_a_difference_and_so_is_another_ledger() -> None:
    spans = [Span(0, 0, 4)]
    outcomes = [told(0, 0, 2, "unreadable_batch", 1), told(0, 2, 3, "malformed", 2)]
    account = account_of(spans, outcomes)
    assert (account.without, account.more_than_one) == (1, 1)
    found = differences(account, Counter(unreadable_batch=3, malformed=1))
    assert [difference.what.removeprefix("offsets of rogue ") for difference in found] == [
        "without a verdict",
        "with several",
        "malformed",
    ]


@pytest.mark.stack
@pytest.mark.timeout(2 * TIMEOUT_S)
def test_an_app_that_keeps_no_rule_changes_nothing_for_the_three(slice_file, tmp_path) -> None:  # noqa: F811
    arguments = ("--taps", slice_file, "--saturdays", "2", "--json")
    alone = json.loads(points_demo(*arguments, "--home", tmp_path / "alone").stdout)
    run = points_demo(*arguments, "--home", tmp_path / "beside", "--hostile", "--kill", "intake@50%")
    assert run.returncode == 0, run.stderr + run.stdout
    beside = json.loads(run.stdout)
    assert beside["reconciled"] is alone["reconciled"] is True
    assert beside["points_milli_by_expiry"] == alone["points_milli_by_expiry"]
    assert beside["persons"] == alone["persons"]
    rogue = beside["hostile"]
    assert (alone["hostile"], rogue["without"], rogue["more_than_one"]) == (None, 0, 0)
    assert rogue["acknowledged"] == sum(rogue["offsets"].values()) > 80_000
    assert rogue["refused_batches"] >= 7
    refused = {"unreadable_batch", "malformed", "forbidden_operation", "unsupported_version"}
    assert refused <= set(rogue["offsets"])
    assert not {"credited", "credited_in_part", "cap_reached", "recorded_only"} & set(rogue["offsets"])
    assert rogue["outcomes"]["unreadable_batch"] >= 7
