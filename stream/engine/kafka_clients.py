"""What aiokafka's clients do not survive and nobody is told, mended for all that a worker has.

A client has routines that run as long as it does, in tasks that nobody looks at. They outlive each KafkaError
and nothing else, and a client with a dead one waits for ever, while the others of the process go on. So a
connection that has broken raises a KafkaError, and a routine that ends by anything else ends the process.
The private names are those of aiokafka 0.14.0; tests/unit/test_kafka_clients.py names them.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.producer.sender import Sender

from stream.errors import end_process

ROUTINES = (  # and of what they may die, because whoever uses the client is told, and in doubt
    (AIOKafkaClient, "_md_synchronizer", ()),
    (Fetcher, "_fetch_requests_routine", ()),
    (GroupCoordinator, "_coordination_routine", ()),
    (Sender, "_sender_routine", KafkaError),
)


def mend_kafka_clients() -> None:
    """From now on, in this process, no client of aiokafka stands still without a word."""
    AIOKafkaConnection.send = _broken_is_told(AIOKafkaConnection.send)
    for owner, name, told in ROUTINES:
        setattr(owner, name, _failure_ends_process(getattr(owner, name), told))


def hang_up(client: AIOKafkaClient) -> None:
    """Closes the connections to leaders: who waits for one is told, and the next request opens another."""
    for (_, group), connection in list(client._conns.items()):
        if group is ConnectionGroup.DEFAULT:
            connection.close(reason=CloseReason.CONNECTION_TIMEOUT)


def _broken_is_told(send: Callable[..., Awaitable]) -> Callable[..., Awaitable]:
    """uvloop raises RuntimeError where asyncio's loop swallows what is written to a connection just broken.

    aiokafka takes two turns of the loop to close it. Who writes in between is, as a rule, the routine that
    asks for metadata: the end of another connection to the same broker has called it.
    """

    def told(connection: AIOKafkaConnection, *args: Any, **kwargs: Any) -> Awaitable:
        try:
            return send(connection, *args, **kwargs)
        except RuntimeError as error:
            if not connection._writer.is_closing():
                raise
            connection.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)
            raise KafkaConnectionError(f"{connection} is broken") from error

    return told


def _failure_ends_process(
    routine: Callable[[Any], Awaitable[None]], told: tuple | type[BaseException]
) -> Callable[[Any], Awaitable[None]]:
    """What it died of is, as a rule, the cause of a KafkaError that says no more than `unexpected`."""

    async def watched(owner: Any) -> None:
        try:
            await routine(owner)
        except Exception as error:
            cause = error.__cause__ or error
            if not isinstance(cause, told):
                end_process(cause)
            raise

    return watched
