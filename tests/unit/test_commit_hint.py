"""The offset that Faust commits is a hint: it neither ends a worker nor keeps one from ending."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from faust.types.tuples import TP

from stream import transport

MINE, OTHER = TP("intake.metro", 0), TP("intake.metro", 1)


def committed(
    monkeypatch: pytest.MonkeyPatch, assigned: set[TP], commit: Callable[[dict], Awaitable[bool]]
) -> bool:
    """What becomes of a commit of both partitions by a consumer that has some of them."""

    class Consumer:
        """aiokafka's."""

        async def commit(self, offsets: dict) -> None:
            await commit({TP(*tp): said.offset for tp, said in offsets.items()})

    class Thread(transport.BatchConsumerThread):
        def __init__(self) -> None:
            """Without its thread."""

        def assignment(self) -> set[TP]:
            return assigned

        def _ensure_consumer(self) -> Consumer:
            return Consumer()

    return asyncio.run(Thread()._commit({MINE: 7, OTHER: 8}))


def test_between_a_subscription_and_its_assignment_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(_: dict) -> Awaitable[bool]:
        raise AssertionError("aiokafka raises here, too")

    assert committed(monkeypatch, set(), commit) is False


def test_what_is_assigned_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict] = []

    async def commit(offsets: dict) -> bool:
        asked.append(offsets)
        return True

    assert committed(monkeypatch, {MINE}, commit)
    assert asked == [{MINE: 7}]


def test_a_broker_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def commit(_: dict) -> bool:
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(transport, "COMMIT_TIMEOUT_S", 0.01)
    assert committed(monkeypatch, {MINE}, commit) is False
