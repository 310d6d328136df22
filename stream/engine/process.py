"""The life of a worker process: it runs until SIGTERM, and ends at once when anything in it has failed.

Faust supervises its services in ways of its own: a crash may restart an agent without its batch, stop half of
the services, or only be noted, while the process lives on, decides nothing and ignores SIGTERM. Here all of
them have one end, because every effect is recoverable and none is skipped: the process is gone, somebody
starts it again, and recovery settles what was half done.
"""

import asyncio
import gc
import os
import signal
import threading
import time
from typing import Any

import faust
import structlog
import uvloop
from mode.services import Service
from mode.threads import ServiceThread

from stream.engine.kafka_clients import mend_kafka_clients
from stream.errors import OperatorError, end_process

log = structlog.get_logger()
STOP_TIMEOUT_S = 20.0  # a cycle may end in 5, a broken client in 5; `points down` kills after 30


def run_worker(app: faust.App) -> None:
    """Runs until SIGTERM, then exits with 0; exits with 1 on any failure, and never runs on after one."""
    end_on_any_crash()
    mend_kafka_clients()
    # What lives for ever is not scanned again; records are not tracked (schemas: gc=False), so collections
    # find nothing: in a drain 3,000 objects in all, for a tenth of the worker's time at the default threshold
    # and 2 % at 100,000, each time 15 ms in which nothing else goes on, but 0.5 % at a million.
    gc.freeze()
    gc.set_threshold(1_000_000, 50, 50)
    _Worker(app).execute_from_commandline()


def end_on_any_crash() -> None:
    """From now on an error that nobody handles ends the process, wherever in it that is.

    Every service of Faust reports to `crash`: its tasks, timers, agents, the consumer and its thread. Beside
    them there are other threads, callbacks, and tasks whose result nobody asks for, in each of the loops.
    """
    service: Any = Service  # a method that is exchanged is none to mypy
    thread: Any = ServiceThread
    service.crash = thread.crash = _crash
    thread.on_crash = lambda *_: None  # it prints what `crash` tells
    threading.excepthook = _thread_failed
    asyncio.set_event_loop_policy(_Loops())


_restart = Service.crash


async def _crash(service: Service, reason: BaseException) -> None:
    if isinstance(reason, asyncio.CancelledError) and service.supervisor:
        await _restart(service, reason)  # no failure: so Faust restarts an agent at a rebalance
    else:
        end_process(reason)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    if not issubclass(failure.exc_type, SystemExit):  # this is how a thread may end itself
        end_process(failure.exc_value or failure.exc_type())


class _Loops(uvloop.EventLoopPolicy):
    """Every loop, that of the consumer's thread included, tells what nobody handled."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        loop = super().new_event_loop()
        loop.set_exception_handler(_unhandled)
        return loop


def _unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    future = context.get("future")
    if error is None:
        log.warning("event loop", what=context["message"])
    elif future is not None and not isinstance(future, asyncio.Task):
        # An answer that came after whoever asked had given up, as when one of several requests has failed.
        log.warning("an answer came too late", error=repr(error))
    elif future is None and isinstance(error, OSError):
        log.warning("a connection broke", error=repr(error))  # its user is told by the connection itself
    else:
        end_process(error)


class _Worker(faust.Worker):
    """Faust's worker, without its spinner and its logging, and with an end that comes in any case."""

    def __init__(self, app: faust.App) -> None:
        super().__init__(app, quiet=True, redirect_stdouts=False, override_logging=False)
        self.spinner = None  # it writes terminal codes, into files, too

    async def start(self) -> None:
        try:
            await super().start()
        except Exception as error:
            end_process(error)

    async def stop(self) -> None:
        try:
            await super().stop()
        except Exception as error:
            end_process(error)

    def install_signal_handlers(self) -> None:
        """Beside the loop's own handlers, which never run in a loop that stands still."""
        super().install_signal_handlers()
        asked, ask = os.pipe()
        threading.Thread(target=_end_in_time, args=[asked], name="stop", daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os.write(ask, b"."))


def _end_in_time(asked: int) -> None:
    os.read(asked, 1)
    time.sleep(STOP_TIMEOUT_S)
    end_process(
        OperatorError(
            f"It did not stop within {STOP_TIMEOUT_S:.0f} s, and was ended.",
            "nothing, if Kafka or Redis was away; else keep this log: something in the worker stands still.",
        )
    )
