"""`GET /metrics` of one worker, in the format of Prometheus.

On 127.0.0.1 and a free port unless POINTS_METRICS_ADDRESS says otherwise; `points status` finds it. It asks
for no token: it tells counts, durations and the ids of apps, and never a person, a record or a secret.
"""

import asyncio
import platform
import shutil
import socket
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from stream.connections import Connections
from stream.errors import OperatorError

VARIABLE = "POINTS_METRICS_ADDRESS"
DEFAULT_ADDRESS = "127.0.0.1:0"  # 0: a free port


def listen(env: Mapping[str, str]) -> socket.socket:
    """The socket at which this worker will answer. Raises OperatorError if it cannot be had."""
    address = env.get(VARIABLE) or DEFAULT_ADDRESS
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise OperatorError(
            f"{VARIABLE} is {address!r}, but must be host:port.", f"correct {VARIABLE} and start again."
        )
    try:
        return socket.create_server((host.strip("[]"), int(port)))
    except OSError as error:
        raise OperatorError(
            f"Cannot listen at {VARIABLE}={address}: {error.strerror}.",
            "every worker of a machine needs a port of its own; port 0 takes a free one.",
        ) from error


def shown(listening: socket.socket) -> str:
    """host:port of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"{host}:{port}"


class MetricsEndpoint:
    """Answers at `listening` with what `registry` collects."""

    def __init__(self, registry: CollectorRegistry, listening: socket.socket) -> None:
        self._registry, self._listening = registry, listening
        self._runner: web.AppRunner | None = None
        self._connections: Connections  # from `start` on
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begins to answer."""
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        assert self._runner.server, "a runner that is set up has a server"
        self._connections = Connections(self._runner.server)
        self._connections.start()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connections, sock=self._listening)

    async def stop(self) -> None:
        """Stops answering."""
        if self._server:
            self._server.close()
            self._connections.stop()
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        transport = request.transport
        self._connections.take(transport)
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
            return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})
        finally:
            self._connections.give_back(transport)


def add_process_metrics(registry: CollectorRegistry, kind: str, home: Path) -> None:
    """What is told of every worker: release, CPU, memory, collections, and space where its data folder is."""
    disable_created_metrics()  # one more sample for each counter, which nothing here asks for
    Info("points_build", "Release of this worker.", registry=registry).info(
        {"version": version("points"), "worker": kind, "python": platform.python_version()}
    )
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(_Disk(home))


class _Disk(Collector):
    def __init__(self, home: Path) -> None:
        self._home = home

    def collect(self) -> Iterable[GaugeMetricFamily]:
        free_bytes = shutil.disk_usage(self._home).free
        yield GaugeMetricFamily(
            "points_disk_free_bytes", "Free on the disk of the data folder.", value=free_bytes
        )
