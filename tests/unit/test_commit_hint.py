"""The offset that Faust commits is a hint: it neither ends a worker nor keeps one from ending."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest
from aiokafka.errors import CommitFailedError, KafkaConnectionError
from faust.types.tuples import TP

from stream.engine import transport

MINE, OTHER = TP("intake.metro", 0), TP("intake.metro", 1)


class Thread(transport.BatchConsumerThread):
    """Without its thread, and with a consumer that has some of the partitions and commits by `commit`."""

    def __init__(self, assigned: set[TP], commit: Callable[[dict], Awaitable[None]]) -> None:
        self._assigned, self._asked = assigned, commit

    def assignment(self) -> set[TP]:
        return self._assigned

    def _ensure_consumer(self) -> "Thread":
        return self

    async def commit(self, offsets: dict) -> None:
        """aiokafka's."""
        await self._asked({TP(*tp): said.offset for tp, said in offsets.items()})

    async def commits(self) -> bool:
        return await self._commit({MINE: 7, OTHER: 8})


def test_between_a_subscription_and_its_assignment_nothing_is_asked() -> None:
    def commit(_: dict) -> Awaitable[None]:
        raise AssertionError("aiokafka raises here, too")

    assert asyncio.run(Thread(set(), commit).commits()) is False


def test_what_is_assigned_is_committed() -> None:
    asked: list[dict] = []

    async def commit(offsets: dict) -> None:
        asked.append(offsets)

    assert asyncio.run(Thread({MINE}, commit).commits())
    assert asked == [{MINE: 7}]


def test_a_commit_that_kafka_refuses_is_nothing_and_another_error_is_told() -> None:
    async def refused(_: dict) -> None:
        raise CommitFailedError

    async def broken(_: dict) -> None:
        raise AttributeError

    assert asyncio.run(Thread({MINE}, refused).commits()) is False
    with pytest.raises(AttributeError):
        asyncio.run(Thread({MINE}, broken).commits())


def test_a_broker_that_does_not_answer_is_not_waited_for_and_its_end_is_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """aiokafka shields the request: cancelled, it would meet the broker's end with nobody to tell it to."""
    monkeypatch.setattr(transport, "COMMIT_TIMEOUT_S", 0.01)
    unhandled: list[dict] = []
    asked: list[dict] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        dies = asyncio.Event()

        async def request() -> None:
            await dies.wait()
            raise KafkaConnectionError

        async def commit(offsets: dict) -> None:
            asked.append(offsets)
            await asyncio.shield(request())

        thread = Thread({MINE}, commit)
        assert await thread.commits() is False
        assert await thread.commits() is False, "while one is under way no other is sent after it"
        dies.set()
        await asyncio.wait([thread._committing])
        assert await thread.commits() is False
        thread._committing = None

    asyncio.run(main())
    gc.collect()
    assert len(asked) == 2
    assert unhandled == []
