"""An event loop in virtual time: a run is one thread, has no I/O, and is the same for the same seed."""

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

process: contextvars.ContextVar[Any] = contextvars.ContextVar("process", default=None)


class Stuck(AssertionError):
    """Nothing is ready and no timer is set: everybody waits for somebody."""


class VirtualLoop(asyncio.BaseEventLoop):
    """`time()` stands still while anything is ready, then jumps to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = self  # BaseEventLoop asks its selector for I/O; here that is where time passes
        self._now_s = 0.0
        self.tasks: dict[Any, set[asyncio.Task]] = {}
        self.set_task_factory(self._tracked)
        self.executor: Callable[[Callable], asyncio.Future] | None = None

    def time(self) -> float:
        return self._now_s

    def select(self, timeout: float | None) -> list:
        if timeout is None:
            raise Stuck("nothing left that could wake anybody")
        self._now_s += max(timeout, 0)
        return []

    def _process_events(self, event_list: list) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def run_in_executor(self, executor: Any, func: Callable, *args: Any) -> asyncio.Future:
        """What a thread would do is done by the simulated outside, after a delay of its own."""
        return self.executor(lambda: func(*args))

    def _tracked(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task:
        task = asyncio.Task(coroutine, loop=loop, **options)
        self.tasks.setdefault(process.get(), set()).add(task)
        return task

    def kill(self, owner: Any) -> None:
        """Ends all tasks of a process where they stand."""
        for task in self.tasks.pop(owner, set()):
            task.cancel()
