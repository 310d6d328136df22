"""The private names of aiokafka under which a worker's clients are mended, and what is not mended."""

import asyncio
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError, ProducerFenced

from stream.engine import kafka_clients


def test_the_private_names_of_aiokafka_are_there() -> None:
    """Fails with another aiokafka: then look again which of its tasks nobody looks at."""
    assert version("aiokafka") == "0.14.0"
    started = {"_sync_task", "_fetch_task", "_coordination_task", "_sender_task"}
    names = {name for owner, *_ in kafka_clients.ROUTINES for name in _names(owner)}
    assert started | {name for _, name, _ in kafka_clients.ROUTINES} <= names
    assert "_writer" in AIOKafkaConnection.send.__code__.co_names
    assert "_conns" in AIOKafkaClient._get_conn.__code__.co_names


def _names(owner: type) -> set[str]:
    return {name for f in vars(owner).values() if hasattr(f, "__code__") for name in f.__code__.co_names}


def test_an_error_on_a_connection_that_is_open_is_a_defect_and_stays_one() -> None:
    def send(_: object) -> None:
        raise RuntimeError

    connection = SimpleNamespace(_writer=SimpleNamespace(is_closing=lambda: False))
    with pytest.raises(RuntimeError):
        kafka_clients._broken_is_told(send)(connection)


def unexpected(cause: Exception) -> KafkaError:
    """How aiokafka tells what it did not foresee."""
    error = KafkaError("unexpected")
    error.__cause__ = cause
    return error


BROKEN, FENCED = ZeroDivisionError(), ProducerFenced()


@pytest.mark.parametrize(
    ("told", "error", "ended_by"),
    [
        ((), BROKEN, BROKEN),
        ((), unexpected(BROKEN), BROKEN),
        ((), unexpected(FENCED), FENCED),
        (KafkaError, unexpected(BROKEN), BROKEN),
        (KafkaError, unexpected(FENCED), None),
        (KafkaError, FENCED, None),
    ],
)
def test_a_routine_that_fails_ends_the_process_unless_its_users_are_told(
    told: tuple | type, error: Exception, ended_by: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[BaseException] = []
    monkeypatch.setattr(kafka_clients, "end_process", ended.append)

    async def routine(_: object) -> None:
        raise error

    with pytest.raises(type(error)):
        asyncio.run(kafka_clients._failure_ends_process(routine, told)(None))
    assert ended == [ended_by] * (ended_by is not None)
