"""Where a source stands against what the broker has, and what an adoption would lose."""

import pytest

from stream.errors import OperatorError
from stream.operate.platform.adoption import Standing, stopped

OLD, NEW = "old".ljust(22, "-"), "new".ljust(22, "-")


def standing(known: str, due: int, now: str, first: int, end: int, shard: int = 0) -> Standing:
    return Standing("intake.metro", shard, known, due, now, first, end)


@pytest.mark.parametrize(
    ("found", "state", "lost"),
    [
        (standing(OLD, 7, OLD, 0, 7), "goes on", "nothing"),
        (standing(OLD, 7, OLD, 7, 7), "goes on", "nothing"),
        (standing(OLD, 7, OLD, 8, 9), "deleted unread", "offsets 7 to 7"),
        (standing(OLD, 7, OLD, 0, 6), "shorter than decided", "nothing"),
        (standing(OLD, 7, NEW, 0, 7), "made again", "all from offset 7 on of the topic before"),
        (
            standing(OLD, 7, NEW, 3, 9), "made again",
            "all from offset 7 on of the topic before, and offsets 0 to 2 of the new topic",
        ),
        (standing(OLD, 7, "", 0, 0), "missing", "nothing"),
        (standing("", 0, OLD, 0, 4), "not registered", "nothing"),
    ],
)  # fmt: skip
def test_a_state_and_what_is_lost(found: Standing, state: str, lost: str) -> None:
    assert (found.state, found.lost) == (state, lost)


def test_only_shards_that_cannot_go_on_are_told() -> None:
    found = [standing(OLD, 7, OLD, 8, 9, 0), standing(OLD, 7, OLD, 0, 9, 1), standing("", 0, OLD, 0, 9, 2)]
    assert [s.shard for s in stopped(found)] == [0]


def test_a_shard_that_does_not_know_the_app_yet_is_told_of_the_topic_made_again() -> None:
    found = [standing(OLD, 7, NEW, 0, 9, 0), standing("", 0, NEW, 0, 9, 1)]
    assert [s.shard for s in stopped(found)] == [0, 1]


def test_a_log_that_is_shorter_than_what_was_decided_is_nothing_to_go_on_in() -> None:
    with pytest.raises(OperatorError, match="ends at 6 in shard 0, but offsets below 7 were decided"):
        stopped([standing(OLD, 7, OLD, 0, 6)])
