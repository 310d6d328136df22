"""What a hostile program sends, byte by byte: requests that never come, a batch that fills a heap."""

import asyncio
import contextlib
import socket
import struct

import cramjam
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import ScramAuthenticator
from aiokafka.errors import KafkaError
from aiokafka.protocol.produce import ProduceRequest

from loadtest.flood.probe import INTERVAL_S
from stream.settings import Settings
from tests.batches import making

# Some 16 reports of a probe in each of four shards: whatever was sent before is decided by then.
SETTLED_S = 64 * INTERVAL_S
METADATA, SASL_HANDSHAKE, SASL_AUTHENTICATE = 3, 17, 36
VERSIONS = {METADATA: 1, SASL_HANDSHAKE: 1, SASL_AUTHENTICATE: 0}


def announce(
    address: tuple[str, int], source: str, size_bytes: int, login: tuple[str, str] | None = None
) -> socket.socket | None:
    """A connection from `source` that says how long its request will be, and sends nothing of it.

    None if the broker closed it before. `login`: user and password, to say it behind a log-in.
    """
    connection = socket.create_connection(address, timeout=20, source_address=(source, 0))
    try:
        if login:
            _log_in(connection, *login)
        connection.sendall(struct.pack(">i", size_bytes))
    except OSError:
        connection.close()
        return None
    return connection


def ask_for_topics(address: tuple[str, int], login: tuple[str, str], names: list[bytes]) -> int:
    """Asks what is known of these topics; how long the answer was."""
    with socket.create_connection(address, timeout=60) as connection:
        _log_in(connection, *login)
        asked = b"".join(struct.pack(">h", len(name)) + name for name in names)
        return len(_ask(connection, METADATA, struct.pack(">i", len(names)) + asked))


def is_open(connection: socket.socket) -> bool:
    """Whether the broker has kept a connection on which nothing is to be read."""
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        try:
            return bool(connection.recv(1))
        except ConnectionError:
            return False
    return True


def _log_in(connection: socket.socket, user: str, password: str) -> None:
    mechanism = b"SCRAM-SHA-256"
    _ask(connection, SASL_HANDSHAKE, struct.pack(">h", len(mechanism)) + mechanism)
    steps = ScramAuthenticator(
        loop=None, sasl_plain_username=user, sasl_plain_password=password, sasl_mechanism=mechanism.decode()
    ).authenticator_scram()
    answer = None
    with contextlib.suppress(StopIteration):
        while True:
            message, _ = steps.send(answer)
            told = _ask(connection, SASL_AUTHENTICATE, struct.pack(">i", len(message)) + message)
            error_code, text_bytes = struct.unpack_from(">hh", told)
            assert error_code == 0
            answer = told[4 + max(text_bytes, 0) + 4 :]


def _ask(connection: socket.socket, api: int, body: bytes) -> bytes:
    request = struct.pack(">hhih", api, VERSIONS[api], 1, -1) + body
    connection.sendall(struct.pack(">i", len(request)) + request)
    (size_bytes,) = struct.unpack(">i", _exactly(connection, 4))
    return _exactly(connection, size_bytes)[4:]


def _exactly(connection: socket.socket, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        more = connection.recv(count - len(got))
        if not more:
            raise ConnectionResetError
        got += more
    return bytes(got)


def equal_records(count: int) -> bytes:
    """A batch of `count` empty records, all of them the first, in some kilobytes of zstd.

    The broker lists all of them in memory before it looks further.
    """
    payload = cramjam.zstd.compress(making.record(0, None, key=None) * count, level=19)
    return making.batch(bytes(payload), count, making.ZSTD, attributes=0)


async def produce(settings: Settings, app: str, batch: bytes, partition: int = 0) -> int | None:
    """Sends a batch as it stands as the app; the broker's error code, None without an answer."""
    client = AIOKafkaClient(**settings.kafka_client(f"app-{app}"), request_timeout_ms=20_000)
    try:
        await client.bootstrap()
        broker = next(iter(client.cluster.brokers())).nodeId
        request = ProduceRequest(None, -1, 20_000, [(f"intake.{app}", [(partition, batch)])])
        answer = await client.send(broker, request)
    except (KafkaError, OSError):
        return None
    finally:
        with contextlib.suppress(KafkaError, asyncio.CancelledError):
            await client.close()
    return answer.topics[0][1][0][1]
