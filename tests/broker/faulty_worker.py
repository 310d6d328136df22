"""`python -m tests.broker.faulty_worker FAULT COMMAND`: `points COMMAND`, in which one thing goes wrong.

Each fault says `injected` when it strikes. What is patched is what a defect would break: the product has no
such switch.
"""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiokafka
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IllegalStateError

from stream.engine import process
from stream.engine.transport import BatchConsumer, BatchConsumerThread, BatchSchema
from stream.operate.platform import clock
from stream.telemetry.endpoint import MetricsEndpoint
from stream.telemetry.worker import BrokerWatch


def strike(*_: Any, **__: Any) -> None:
    """The defect."""
    print("injected", file=sys.stderr, flush=True)
    raise RuntimeError("a defect")


async def strike_later(*_: Any, **__: Any) -> None:
    strike()


def commit() -> None:
    """A defect in what Faust calls each second, for a hint."""
    aiokafka.AIOKafkaConsumer.commit = strike_later


def refused_commit() -> None:
    """As seen when an app was added: a commit between a subscription and its assignment."""

    async def commit(*_: Any) -> None:
        print("injected", file=sys.stderr, flush=True)
        raise IllegalStateError("no assignment")

    aiokafka.AIOKafkaConsumer.commit = commit


def service() -> None:
    """Faust's fetcher, a service of its own."""

    async def getmany(*_: Any, **__: Any) -> AsyncIterator[Any]:
        strike()
        yield

    BatchConsumer.getmany = getmany


def service_start() -> None:
    """A service beside the worker that cannot start."""
    MetricsEndpoint.start = strike_later


def agent() -> None:
    """Below the agent, where its stream decodes."""
    BatchSchema.compile = lambda *_, **__: strike_later


def thread() -> None:
    """Any thread."""
    _when_started(lambda: threading.Thread(target=strike).start())


def consumer_thread() -> None:
    """The consumer's thread has a loop of its own."""
    begin = BatchConsumerThread.on_thread_started

    async def on_thread_started(self: BatchConsumerThread) -> None:
        await begin(self)
        self.thread_loop.call_soon(strike)

    BatchConsumerThread.on_thread_started = on_thread_started


def callback() -> None:
    """A callback of the loop."""
    _when_started(lambda: asyncio.get_running_loop().call_soon(strike))


def dropped_task() -> None:
    """A task that nobody waits for."""
    _when_started(lambda: asyncio.get_running_loop().create_task(strike_later()))


def kept_task() -> None:
    """A task that somebody waits for only when the worker ends."""
    BrokerWatch._run = strike_later


def kafka_client() -> None:
    """A task that nobody ever waits for: in it, aiokafka keeps a client's metadata."""

    def break_it() -> None:
        AIOKafkaClient._metadata_update = strike_later

    _when_started(break_it)


def nothing() -> None:
    """A sound worker."""


def blocked_loop() -> None:
    """Not a crash: the loop stands still, and nothing that runs in it can end the process."""

    process.STOP_TIMEOUT_S = 2.0

    def block() -> None:
        print("injected", file=sys.stderr, flush=True)
        while True:
            time.sleep(1)

    _when_started(lambda: asyncio.get_running_loop().call_soon(block))


def clock_ahead() -> None:
    """A machine whose clock is three hours ahead."""
    _shift(3)


def clock_behind() -> None:
    """A machine whose clock is three hours behind."""
    _shift(-3)


def clock_ahead_later() -> None:
    """As if it had been set after the worker's start."""
    clock.check_clock = lambda *_: None
    _shift(3)


def clock_behind_later() -> None:
    """As if it had been set after the worker's start."""
    clock.check_clock = lambda *_: None
    _shift(-3)


def _shift(hours: int) -> None:
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + hours * 3_600
    time.time_ns = lambda: nanoseconds() + hours * 3_600_000_000_000


def _when_started(act: Callable[[], Any]) -> None:
    begin = BrokerWatch.start

    async def start(self: BrokerWatch) -> None:
        await begin(self)
        act()

    BrokerWatch.start = start


CRASHES = (
    commit,
    service,
    service_start,
    agent,
    thread,
    consumer_thread,
    callback,
    dropped_task,
    kept_task,
    kafka_client,
)

if __name__ == "__main__":
    from stream import cli

    _, fault, *command = sys.argv
    globals()[fault]()
    sys.argv = ["points", *command]
    cli.main()
