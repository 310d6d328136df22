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
    names = {name for owner, _ in kafka_clients.ROUTINES for name in _names(owner)}
    assert started | {name for _, name in kafka_clients.ROUTINES} <= names
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


@pytest.mark.parametrize(
    ("error", "ends"),
    [(ProducerFenced(), False), (KafkaError(), True), (KeyError(), True)],
)
def test_a_routine_that_fails_ends_the_process_unless_its_users_are_told(
    error: Exception, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[BaseException] = []
    monkeypatch.setattr(kafka_clients, "end_process", ended.append)

    async def routine(_: object) -> None:
        raise error

    with pytest.raises(type(error)):
        asyncio.run(kafka_clients._failure_ends_process(routine)(None))
    assert ended == [error] * ends


def test_what_ends_the_process_is_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka says of it only that it was unexpected."""
    ended: list[BaseException] = []
    monkeypatch.setattr(kafka_clients, "end_process", ended.append)
    cause = ZeroDivisionError()

    async def routine(_: object) -> None:
        raise KafkaError("unexpected") from cause

    with pytest.raises(KafkaError):
        asyncio.run(kafka_clients._failure_ends_process(routine)(None))
    assert ended == [cause]
