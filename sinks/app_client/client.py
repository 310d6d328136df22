"""The two faces of the client, for threads and for asyncio, over one outbox and one courier."""

import asyncio
import datetime as dt
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Self

from sinks.app_client.courier import Courier
from sinks.app_client.errors import ClientError
from sinks.app_client.outbox import Outbox
from sinks.app_client.records import check_record, make_record
from sinks.app_client.standing import Answer

log = logging.getLogger("points.app_client")


class AppClient:
    """Reports behaviours of an app, and knows what became of each. Thread-safe; one for a process.

    `outbox` is a file of this process alone, on a disk that lasts. What `report` has taken is in it, and is
    sent, followed and answered through any number of crashes. `on_outcome` is called in the client's thread
    once for each answer; after a crash it may be called again for those of the last moment, and for those on
    which it raised. At most `capacity` records may be unanswered. With `retry=False` the verdicts that the
    client would act upon itself are answers, too.
    """

    def __init__(
        self,
        app: str,
        outbox: str | Path,
        *,
        bootstrap: str,
        password: str,
        user: str | None = None,
        mechanism: str = "SCRAM-SHA-512",
        security: str = "SASL_SSL",
        ca_file: str | None = None,
        on_outcome: Callable[[Answer], None] | None = None,
        capacity: int = 100_000,
        retry: bool = True,
    ) -> None:
        kafka = {
            "bootstrap.servers": bootstrap,
            "security.protocol": security,
            "sasl.mechanism": mechanism,
            "sasl.username": user or f"app-{app}",
            "sasl.password": password,
        }
        if ca_file:
            kafka["ssl.ca.location"] = ca_file
        self._on_outcome, self._pid = on_outcome, os.getpid()
        self._changed = threading.Condition()  # also guards `_waiting`
        self._waiting: dict[str, list[Future[Answer]]] = {}
        self._closed = False
        self._outbox = Outbox(Path(outbox), app, capacity, retry)
        self._courier = Courier(app, kafka, self._outbox, self._tell)
        self._courier.start()

    def report(
        self,
        uid: str,
        methodology: str,
        occurred_at: dt.datetime,
        activity: Mapping[str, int],
        **optional: Any,
    ) -> str:
        """Takes a behaviour and returns its report_id once both are on disk; never waits for the network.

        `optional`: source_txn, region and the other fields of docs/apps.md. The same behaviour again is the
        same record. Raises `Refused` (nothing stored, nothing sent) and `OutboxFullError`.
        """
        record = make_record(uid, methodology, occurred_at, activity, **optional)
        self._open().add([record])
        return record.report_id

    def submit(self, values: Iterable[bytes]) -> list[str]:
        """Takes ready-made reports, with ids of the app's own, all or none; their ids.

        Such an id must be unique within the app for ever, or one record may be given another's answer.
        Raises `Refused`, `IdTakenError`, `OutboxFullError`.
        """
        records = [check_record(value) for value in values]
        self._open().add(records)
        return [record.report_id for record in records]

    def outcome(self, report_id: str, timeout_s: float | None = None) -> Answer | None:
        """The answer to a record; None if there is none within `timeout_s` (None: waits for it).

        Raises KeyError for an id that is not in this outbox; answers stay for 30 days.
        """
        future = self.future(report_id)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            return None

    def future(self, report_id: str) -> "Future[Answer]":
        """`outcome` for those who wait for many."""
        future: Future[Answer] = Future()
        with self._changed:
            if answer := self._open().answer(report_id):
                future.set_result(answer)
            else:
                self._waiting.setdefault(report_id, []).append(future)
                future.add_done_callback(partial(self._forget, report_id))
        return future

    def pending(self) -> dict[str, int]:
        """How many records have no answer, by state: queued, in flight, sent (the broker has them), or the
        verdict after which they will be sent again. Empty: all are answered."""
        return self._open().pending()

    def flush(self, timeout_s: float) -> bool:
        """Waits until the broker has all that was handed over, but for what waits to be sent again."""
        outbox = self._open()
        with self._changed:
            return self._changed.wait_for(lambda: outbox.undelivered() == 0, timeout_s)

    def trouble(self) -> str:
        """What stands between the client and the broker now, such as a wrong password; '' if nothing does."""
        return self._courier.trouble

    def close(self) -> None:
        """Ends the client within some seconds; the next one on this outbox goes on where it was."""
        if self._closed or os.getpid() != self._pid:
            return
        self._courier.stop()
        self._closed = True
        self._outbox.close()
        for futures in list(self._waiting.values()):
            for future in futures.copy():
                future.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self) -> Outbox:
        if self._closed:
            raise ClientError("this client is closed")
        if os.getpid() != self._pid:
            raise ClientError("this client was made before a fork; make one in each process")
        return self._outbox

    def _forget(self, report_id: str, future: Future) -> None:
        with self._changed:
            if future in (waiting := self._waiting.get(report_id, [])):
                waiting.remove(future)
                if not waiting:
                    del self._waiting[report_id]

    def _tell(self) -> None:
        """Hands out the new answers. Called by the courier after each of its steps."""
        while answers := self._outbox.untold():
            told: list[str] = []
            failed: list[str] = []
            for answer in answers:
                with self._changed:
                    futures = self._waiting.pop(answer.report_id, [])
                for future in futures:
                    if future.set_running_or_notify_cancel():
                        future.set_result(answer)
                try:
                    if self._on_outcome:
                        self._on_outcome(answer)
                    told.append(answer.report_id)
                except Exception:
                    log.exception(
                        "on_outcome failed; it is called for this answer again after the next start"
                    )
                    failed.append(answer.report_id)
            self._outbox.mark_told(told, failed)
        with self._changed:
            self._changed.notify_all()


class AsyncAppClient:
    """`AppClient` for asyncio: the same arguments, the same calls as coroutines, `on_outcome` one, too.

    Opened and closed by `async with`. A coroutine `on_outcome` has ended before the next one is begun.
    """

    def __init__(
        self, *arguments: Any, on_outcome: Callable[[Answer], Awaitable[None]] | None = None, **named: Any
    ) -> None:
        def call(answer: Answer) -> None:
            assert on_outcome
            asyncio.run_coroutine_threadsafe(_awaited(on_outcome(answer)), self._loop).result()

        self._make = partial(AppClient, *arguments, on_outcome=on_outcome and call, **named)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._client = await asyncio.to_thread(self._make)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def report(self, *arguments: Any, **optional: Any) -> str:
        """See `AppClient.report`."""
        return await asyncio.to_thread(self._client.report, *arguments, **optional)

    async def submit(self, values: Iterable[bytes]) -> list[str]:
        """See `AppClient.submit`."""
        return await asyncio.to_thread(self._client.submit, values)

    async def outcome(self, report_id: str, timeout_s: float | None = None) -> Answer | None:
        """See `AppClient.outcome`; no thread waits."""
        future = await asyncio.to_thread(self._client.future, report_id)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)
        except TimeoutError:
            return None

    async def pending(self) -> dict[str, int]:
        """See `AppClient.pending`."""
        return await asyncio.to_thread(self._client.pending)

    async def flush(self, timeout_s: float) -> bool:
        """See `AppClient.flush`."""
        return await asyncio.to_thread(self._client.flush, timeout_s)

    def trouble(self) -> str:
        """See `AppClient.trouble`."""
        return self._client.trouble()

    async def close(self) -> None:
        """See `AppClient.close`."""
        await asyncio.to_thread(self._client.close)


async def _awaited(what: Awaitable[None]) -> None:
    await what
