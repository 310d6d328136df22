"""The run itself: for each Saturday the clock, then both apps at once, then every outcome."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import NamedTuple

from confluent_kafka import KafkaException, Producer

from loadtest.demo.app_client import AppClient
from loadtest.demo.figures import Figures, Summing
from loadtest.demo.generator import Saturday
from loadtest.demo.ledger_audit import LedgerAudit
from loadtest.demo.reports import APPS
from loadtest.demo.screen import Screen
from loadtest.demo.workers import Workers
from schemas.topics import COMMANDS
from stream.errors import OperatorError
from stream.settings import Settings

# The first clock command waits for the intake worker to start and to recover its shards, a later one perhaps
# for a killed worker's session to time out (10 s).
CLOCK_TIMEOUT_S = 90.0
CHECK_INTERVAL_S = 0.5


class Kill(NamedTuple):
    """`worker` gets SIGKILL when `share` of all records is sent."""

    worker: str
    share: float


class Timed(NamedTuple):
    """How long a Saturday took, from its first record sent to its last outcome."""

    saturday: Saturday
    records: int
    seconds: float


class Replay:
    """Both apps, the platform's clock and the ledger, over all Saturdays."""

    def __init__(
        self, settings: Settings, workers: Workers, saturdays: list[Saturday], kills: list[Kill]
    ) -> None:
        self._settings, self._workers, self._saturdays = settings, workers, saturdays
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._sent = 0
        self.total = sum(len(r) for s in saturdays for r in s.records.values())
        self._kills = sorted(((k.share * self.total, k.worker) for k in kills), reverse=True)
        self.audit = LedgerAudit(settings)
        self.clients = {app: AppClient(settings, app, self._stop) for app in APPS}
        self.timed: list[Timed] = []
        self.cpu_s: Counter[str] = Counter()

    def run(self, screen: Screen) -> None:
        """Replays all Saturdays. Raises OperatorError where something stays away for too long."""
        for number, saturday in enumerate(self._saturdays, start=1):
            screen.saturday(saturday.date, number, len(self._saturdays))
            self._set_clock(saturday)
            before = self._workers.cpu_s()
            started_s = time.monotonic()
            self._exchange(saturday, screen)
            records = sum(map(len, saturday.records.values()))
            self.timed.append(Timed(saturday, records, time.monotonic() - started_s))
            self.cpu_s += self._workers.cpu_s() - before
            self.audit.poll(0)

    def outcome_figures(self) -> Figures:
        """What the apps were told, in sum."""
        sums = Summing()
        for client in self.clients.values():
            client.add_outcomes(sums)
        return sums.figures()

    def close(self) -> None:
        """Leaves the broker."""
        self._stop.set()
        for end in (self.audit, *self.clients.values()):
            end.close()

    def _exchange(self, saturday: Saturday, screen: Screen) -> None:
        def exchange(app: str) -> None:
            self.clients[app].exchange(
                saturday.records[app], self._on_sent(screen, app), lambda n: screen.answered(app, n)
            )

        with ThreadPoolExecutor(len(APPS)) as pool:
            exchanges = [pool.submit(exchange, app) for app in APPS]
            try:
                pending = set(exchanges)
                while pending:
                    done, pending = wait(pending, CHECK_INTERVAL_S, FIRST_EXCEPTION)
                    for exchanged in done:
                        exchanged.result()
                    self._workers.check()
            except BaseException:
                self._stop.set()
                raise

    def _on_sent(self, screen: Screen, app: str) -> Callable[[int], None]:
        def on_sent(records: int) -> None:
            screen.sent(app, records)
            with self._lock:
                self._sent += records
                while self._kills and self._sent >= self._kills[-1][0]:
                    _, worker = self._kills.pop()
                    screen.say(
                        f"kill -9 of the {worker} worker after {self._sent:,} of {self.total:,} records"
                    )
                    self._workers.kill_and_restart(worker)

        return on_sent

    def _set_clock(self, saturday: Saturday) -> None:
        """Sends the clock to every shard and waits until it is a row of each shard's ledger."""
        places: list[tuple[int, int]] = []
        producer = Producer(self._settings.librdkafka("admin") | {"acks": "all", "enable.idempotence": True})
        command = {"version": 1, "kind": "clock", "at": saturday.clock.isoformat()}

        def delivered(error, message) -> None:
            if error:
                raise KafkaException(error)
            places.append((message.partition(), message.offset()))

        for shard in range(self._settings.shards):
            value = json.dumps(command).encode()
            producer.produce(COMMANDS, value, partition=shard, on_delivery=delivered)
        producer.flush(CLOCK_TIMEOUT_S)
        deadline_s = time.monotonic() + CLOCK_TIMEOUT_S
        while len(places) < self._settings.shards or not all(p in self.audit.answers for p in places):
            if time.monotonic() > deadline_s:
                raise OperatorError(
                    f"The clock command for {saturday.date} is in force in "
                    f"{sum(p in self.audit.answers for p in places)} of {self._settings.shards} shards after "
                    f"{CLOCK_TIMEOUT_S:.0f} s.",
                    "look at logs/intake.log in the data folder: the worker says there why it waits.",
                )
            self._workers.check()
            self.audit.poll()
        for place in places:
            answer = self.audit.answers[place]
            if answer.verdict != "command_applied":
                raise OperatorError(
                    f"Shard {place[0]} refused the clock command: {answer.verdict}: {answer.detail}.",
                    "the demo needs a platform with a simulated clock: let it make its own data folder.",
                )
