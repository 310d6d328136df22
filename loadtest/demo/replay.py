"""The run itself: for each Saturday the clock, then in each round all apps at once, then every outcome."""

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from confluent_kafka import KafkaException, Producer

from loadtest.demo.app_client import AppClient
from loadtest.demo.figures import Figures, Summing
from loadtest.demo.generator import Record, Saturday
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
CHUNK_RECORDS = 500  # between two looks at what came back, and at the share at which a worker is killed
# A killed intake worker's shards are taken over after the broker's session time-out of 10 s, then recovered.
STALL_TIMEOUT_S = 90.0
POLL_S = 0.05


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
    """All apps, the platform's clock and the ledger, over all Saturdays.

    The apps share one thread, each with a producer of its own: so their records meet at the broker at the
    times that the Saturday's order says, give or take what the producers gather, and a race has no favourite.
    """

    def __init__(
        self, settings: Settings, workers: Workers, saturdays: list[Saturday], kills: list[Kill]
    ) -> None:
        self._settings, self._workers, self._saturdays = settings, workers, saturdays
        self._sent = 0
        self.total = sum(saturday.count() for saturday in saturdays)
        self._kills = sorted(((k.share * self.total, k.worker) for k in kills), reverse=True)
        self.audit = LedgerAudit(settings)
        self.clients = {app: AppClient(settings, app) for app in APPS}
        self.timed: list[Timed] = []
        self.cpu_s: Counter[str] = Counter()

    def run(self, screen: Screen, begun: Callable[[], None] | None = None) -> None:
        """Replays all Saturdays. Raises OperatorError where something stays away for too long.

        `begun` is called once the first clock is in force: a record that is decided before it keeps it from
        going back to the first Saturday.
        """
        for number, saturday in enumerate(self._saturdays, start=1):
            screen.saturday(saturday.date, number, len(self._saturdays))
            self._set_clock(saturday)
            if begun and number == 1:
                begun()
            before = self._workers.cpu_s()
            started_s = time.monotonic()
            for records in saturday.rounds:
                self._exchange(records, screen)
            self.timed.append(Timed(saturday, saturday.count(), time.monotonic() - started_s))
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
        self.audit.close()
        for client in self.clients.values():
            client.close()

    def _exchange(self, records: list[Record], screen: Screen) -> None:
        """Sends the records of a round in order and returns once each of them has its outcome.

        Raises OperatorError if outcomes stay away for STALL_TIMEOUT_S, or if one comes that cannot be.
        """
        for start in range(0, len(records), CHUNK_RECORDS):
            chunk = records[start : start + CHUNK_RECORDS]
            for record in chunk:
                self.clients[record.app].send(record)
            for app, sent in Counter(record.app for record in chunk).items():
                screen.sent(app, sent)
            self._sent += len(chunk)
            self._kill_what_is_due(screen)
            self._collect(screen, 0)
        for client in self.clients.values():
            client.flush()
        last_s = time.monotonic()
        while missing := {
            app: client.unanswered for app, client in self.clients.items() if client.unanswered
        }:
            self._workers.check()
            if self._collect(screen, POLL_S):
                last_s = time.monotonic()
            elif time.monotonic() - last_s > STALL_TIMEOUT_S:
                raise OperatorError(
                    f"Records have had no outcome for {STALL_TIMEOUT_S:.0f} s: {missing}.",
                    "look at logs/intake.log in the data folder: the worker says there why it waits.",
                )
        for client in self.clients.values():
            client.check_none_strayed()

    def _collect(self, screen: Screen, timeout_s: float) -> int:
        """Takes the outcomes that have come for any app; the number of them."""
        answered = {app: client.collect(timeout_s / len(APPS)) for app, client in self.clients.items()}
        for app, count in answered.items():
            screen.answered(app, count)
        return sum(answered.values())

    def _kill_what_is_due(self, screen: Screen) -> None:
        while self._kills and self._sent >= self._kills[-1][0]:
            _, worker = self._kills.pop()
            screen.say(f"kill -9 of the {worker} worker after {self._sent:,} of {self.total:,} records")
            self._workers.kill_and_restart(worker)

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
