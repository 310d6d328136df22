"""A Kafka client whose connections break, or fall silent, is well again as soon as new ones are to be had."""

import asyncio
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection
from aiokafka.structs import BrokerMetadata

from schemas.topics import COMMANDS
from stream.engine import kafka_clients, transport
from stream.settings import Settings

pytestmark = [pytest.mark.stack, pytest.mark.timeout(60)]
BROKER = 1
PARTITION = TopicPartition(COMMANDS, 0)


class Proxy:
    """Between clients and the broker: it can reset connections, and swallow what comes over those it has."""

    def __init__(self, bootstrap: str) -> None:
        host, port = bootstrap.split(":")
        self._broker = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self._peers: dict[socket.socket, socket.socket] = {}
        self._silent: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def lead(self, client: AIOKafkaClient) -> None:
        """Whatever broker the client looks for is here."""
        client.cluster.broker_metadata = lambda node: BrokerMetadata(node, "127.0.0.1", self._port, None)

    def reset(self, client_port: int) -> None:
        """As the system does it for a process that was killed, with a request unread."""
        [mine] = [s for s in self._peers if s.getpeername()[1] == client_port]
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._end(mine)

    def fall_silent(self) -> None:
        """As of a machine that lost its power: what is connected stays so, and nothing comes any more."""
        self._silent.update(self._peers)

    def close(self) -> None:
        """For good."""
        self._listener.close()
        self._thread.join()
        for one in self._peers:
            one.close()
        self._selector.close()

    def _run(self) -> None:
        while self._listener.fileno() >= 0:
            for key, _ in self._selector.select(0.1):
                if key.fileobj is self._listener:
                    self._connect()
                elif key.fileobj in self._peers and not self._hand_on(key.fileobj):
                    self._end(key.fileobj)

    def _connect(self) -> None:
        client, _ = self._listener.accept()
        broker = socket.create_connection(self._broker)
        for source, sink in ((client, broker), (broker, client)):
            self._peers[source] = sink
            self._selector.register(source, selectors.EVENT_READ)

    def _hand_on(self, source: socket.socket) -> bool:
        """Whether the connection goes on."""
        with suppress(OSError):
            data = source.recv(1 << 16)
            if source not in self._silent:
                self._peers[source].sendall(data)
            return bool(data)
        return False

    def _end(self, source: socket.socket) -> None:
        for one in (source, self._peers[source]):
            self._selector.unregister(one)
            del self._peers[one]
            one.close()


@pytest.fixture
def proxy(stack: Settings) -> Iterator[Proxy]:
    proxy = Proxy(stack.kafka_bootstrap)
    yield proxy
    proxy.close()


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a worker; afterwards aiokafka is what it was."""
    for owner, name, *_ in (*kafka_clients.ROUTINES, (AIOKafkaConnection, "send")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    kafka_clients.mend_kafka_clients()


@pytest.mark.usefixtures("mended")
def test_a_client_lives_on_whose_connections_break_shortly_after_one_another(
    stack: Settings, proxy: Proxy
) -> None:
    """A broker that dies ends them so; the second is written to before aiokafka knows that it is gone."""

    async def main() -> None:
        client = AIOKafkaClient(**stack.kafka_client("intake"))
        proxy.lead(client)
        await client.bootstrap()
        ports = {}
        for group in ConnectionGroup:
            assert await client.ready(BROKER, group=group)
            ports[group] = client._conns[BROKER, group]._writer.get_extra_info("sockname")[1]
        first, known = client._conns[BROKER, ConnectionGroup.COORDINATION], asyncio.Event()
        asks_for_metadata = first._on_close_cb

        def closed(*args: object) -> None:
            asks_for_metadata(*args)
            proxy.reset(ports[ConnectionGroup.DEFAULT])
            known.set()

        first._on_close_cb = closed
        proxy.reset(ports[ConnectionGroup.COORDINATION])
        await known.wait()
        async with asyncio.timeout(10):
            while not await client.force_metadata_update():
                pass
        assert await client.ready(BROKER)
        await client.close()

    uvloop.run(main())


class Thread(transport.BatchConsumerThread):
    """Without its thread."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._asked = consumer

    def _ensure_consumer(self) -> AIOKafkaConsumer:
        return self._asked

    async def call_thread(self, ask: Callable, *args: object) -> object:
        return await ask(*args)


def test_where_a_partition_ends_is_not_asked_twice_over_a_connection_that_fell_silent(
    stack: Settings, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "ANSWER_TIMEOUT_S", 1.0)

    async def main() -> None:
        consumer = AIOKafkaConsumer(**stack.kafka_client("intake"))
        proxy.lead(consumer._client)
        await consumer.start()
        thread = Thread(consumer)
        known = await thread.highwaters(PARTITION)
        assert await thread.earliest_offsets(PARTITION) == {PARTITION: 0}
        proxy.fall_silent()
        with pytest.raises(TimeoutError):
            await thread.highwaters(PARTITION)
        assert await thread.highwaters(PARTITION) == known
        await consumer.stop()

    uvloop.run(main())
