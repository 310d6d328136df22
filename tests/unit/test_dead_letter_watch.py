"""Refused records that wait too long are counted by app, and an archive that is away ends nothing."""

import asyncio

from stream.errors import OperatorError
from stream.operate.dead_letter_watch import DeadLetterWatch
from stream.telemetry.archive import ArchiveMetrics


def value(metrics: ArchiveMetrics, app: str) -> float | None:
    return metrics.registry.get_sample_value("points_dead_letters_old", {"app": app})


def test_what_waits_is_told_and_forgotten_once_it_was_settled() -> None:
    answers = [{"metro": 3, "bus": 1}, {"bus": 2}]
    metrics = ArchiveMetrics(lambda _: None)
    watch = DeadLetterWatch(lambda: answers.pop(0), metrics.old_dead_letters)
    asyncio.run(watch.look())
    assert (value(metrics, "metro"), value(metrics, "bus")) == (3, 1)
    asyncio.run(watch.look())
    assert (value(metrics, "metro"), value(metrics, "bus")) == (None, 2)


def test_an_archive_that_does_not_answer_changes_nothing() -> None:
    def away() -> dict[str, int]:
        raise OperatorError("The archive does not answer.", "start it.")

    metrics = ArchiveMetrics(lambda _: None)
    metrics.old_dead_letters({"metro": 3})
    asyncio.run(DeadLetterWatch(away, metrics.old_dead_letters).look())
    assert value(metrics, "metro") == 3
