"""Connections of a worker's endpoints: so many, each with a time for a request's head and for taking answers.

aiohttp limits neither. A client that opens connections and says nothing costs a worker a descriptor each, and
one that does not take its answer costs 64 MiB of memory.
"""

import asyncio
from collections.abc import Callable
from typing import Any

CONNECTIONS_MAX = 64
HEAD_TIMEOUT_S = 10.0  # from the end of an answer, or from the start, to the end of the next request's head
TAKE_TIMEOUT_S = 60.0  # for an answer
UNSENT_BYTES_MAX = 256 << 20  # of all answers that nobody takes
_SWEEP_S = 1.0


class Connections:
    """Makes the protocols of a server's connections. When they are too many, the one that waits longest for a
    request's head gives way to the new one: who asks at once is always answered."""

    def __init__(self, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        self._make_protocol = make_protocol
        self._waiting: dict[Any, float] = {}  # transports without a request in hand: since when, oldest first
        self._in_hand: set[Any] = set()
        self._sweeper: asyncio.Task | None = None

    def __call__(self) -> asyncio.Protocol:
        return _Watched(self._make_protocol(), self)

    def start(self) -> None:
        """Begins to look at the times."""
        self._sweeper = asyncio.ensure_future(self._sweep())

    def stop(self) -> None:
        """Ends it."""
        if self._sweeper:
            self._sweeper.cancel()

    def unsent_bytes(self) -> int:
        """Of answers that were made and not taken yet."""
        return sum(transport.get_write_buffer_size() for transport in self._waiting)

    def take(self, transport: Any) -> None:
        """A request of this connection is in hand now."""
        if self._waiting.pop(transport, None) is not None:
            self._in_hand.add(transport)

    def give_back(self, transport: Any) -> None:
        """The request is answered."""
        if transport in self._in_hand:
            self._in_hand.discard(transport)
            self._wait(transport)

    def opened(self, transport: Any) -> None:
        """Of a new connection."""
        if len(self._waiting) + len(self._in_hand) >= CONNECTIONS_MAX:
            idle = (one for one in self._waiting if not one.get_write_buffer_size())
            next(idle, transport).abort()
        self._wait(transport)

    def lost(self, transport: Any) -> None:
        """Of a connection that is no more."""
        self._waiting.pop(transport, None)
        self._in_hand.discard(transport)

    def _wait(self, transport: Any) -> None:
        self._waiting[transport] = asyncio.get_running_loop().time()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now_s = asyncio.get_running_loop().time()
            for transport, since_s in list(self._waiting.items()):
                allowed_s = TAKE_TIMEOUT_S if transport.get_write_buffer_size() else HEAD_TIMEOUT_S
                if now_s - since_s > allowed_s:
                    transport.abort()


class _Watched(asyncio.Protocol):
    """aiohttp's protocol of one connection, with its beginning and end told."""

    def __init__(self, inner: asyncio.Protocol, connections: Connections) -> None:
        self._inner, self._connections = inner, connections
        self._transport: Any = None
        for name in ("data_received", "eof_received", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(inner, name))  # handed on without a call of ours

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._connections.opened(transport)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.lost(self._transport)
        self._inner.connection_lost(exc)
