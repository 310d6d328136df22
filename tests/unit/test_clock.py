"""How far apart two clocks are, from a time that was read between two others."""

import pytest

from stream.operate.platform.clock import difference, outside_ms


@pytest.mark.parametrize(
    ("time_ms", "apart_ms"),
    [(100, 0), (150, 0), (200, 0), (201, 1), (99, -1), (3_600_200, 3_600_000)],
)
def test_what_the_answers_time_can_explain_is_no_difference(time_ms: int, apart_ms: int) -> None:
    assert outside_ms(time_ms, 100, 200) == apart_ms


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (3 * 3_600_000, "3.0 hours ahead of"),
        (-3 * 3_600_000, "3.0 hours behind"),
        (90_000, "1.5 minutes ahead of"),
        (-1_500, "1.5 s behind"),
    ],
)
def test_a_difference_in_words(ms: int, words: str) -> None:
    assert difference(ms) == words
