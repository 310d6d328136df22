"""The keeper of a data folder: a small process that starts Kafka and Redis again when they die.

It ends what lives and does not answer. `points up` starts it, `points down` ends it. It starts nothing that
does not belong to its folder, chooses no other ports, as workers and apps know the old ones, and tells in
`run/keeper.state` what it did and why.
"""

import os
import socket
import sys
import time
from pathlib import Path

import msgspec
import psutil
import structlog

from stream import folder, stack_file
from stream.embedded import kafka, last_producers, ports, processes, redis
from stream.errors import OperatorError
from stream.stack_file import StackFile

log = structlog.get_logger()
NAME = "keeper"
SERVICES = {kafka.NAME: kafka, redis.NAME: redis}
STOP_TIMEOUT_S = 5.0
LOOK_EVERY_S = 0.5
PORT_FREE_WITHIN_S = 3.0  # the threads of a dead JVM end a moment after it
STEADY_S = 60.0  # whoever ran for so long starts its delays anew
DELAY_S_MAX = 30.0
# A process that lives and does not answer is as good as dead: a broker whose heap is all but full may collect
# for minutes. Asks in a row, not seconds, so that a machine that slept ends nobody.
ASK_EVERY_S = 5.0
ASK_TIMEOUT_S = 2.0
UNANSWERED_MAX = 10
FAILED_STARTS_MAX = 5  # in a row: a service that never answers is damaged, and starting it does not mend it


class Kept(msgspec.Struct):
    """What the keeper did for one service since the stack was started; times in seconds since 1970."""

    since_s: float
    restarts: int = 0
    last_s: float | None = None  # of the last death, or start that failed
    reason: str = ""
    early_deaths: int = 0  # in a row, within STEADY_S of a start
    failed_starts: int = 0  # in a row
    next_s: float = 0.0  # not to be started before

    @property
    def given_up(self) -> bool:
        """Whether it is left alone until `points up` starts it."""
        return self.failed_starts >= FAILED_STARTS_MAX


def delay_s(early_deaths: int) -> float:
    """How long a start waits: not at all at first, then 1, 2, 4, ... seconds, and no longer than the most."""
    return min(2.0 ** (early_deaths - 2), DELAY_S_MAX) if early_deaths > 1 else 0.0


def ensure_running(home: Path) -> None:
    """Start the keeper of `home` if it does not run. It outlives the terminal, and whoever started it."""
    if processes.find(home, NAME) is None:
        secrets = "POINTS_KAFKA_PASSWORD_"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(secrets)}
        argv = [sys.executable, "-m", "stream.cli", "keep"]
        processes.start(home, NAME, argv, environment | {"POINTS_HOME": str(home)}, None)


def end(home: Path) -> bool:
    """End the keeper of `home`; whether it ran. What it has not told yet is forgotten."""
    process = processes.find(home, NAME)
    if process:
        processes.stop(home, NAME, process, STOP_TIMEOUT_S)
    processes.forget(home, NAME)
    _state_path(home).unlink(missing_ok=True)
    return process is not None


def told(home: Path) -> dict[str, Kept]:
    """What the keeper of `home` did, by service; empty before it has begun."""
    try:
        return msgspec.json.decode(_state_path(home).read_bytes(), type=dict[str, Kept])
    except (OSError, msgspec.DecodeError):
        return {}


def words(kept: dict[str, Kept]) -> list[str]:
    """One line for an operator about each service that did not run all the time."""
    return [_words(name, each) for name, each in kept.items() if each.last_s is not None]


def _words(name: str, kept: Kept) -> str:
    last = _at(kept.last_s or kept.since_s)
    if kept.given_up:
        first = f"{name} is left alone after {kept.failed_starts} starts that failed, the last"
        return f"{first} at {last}: {kept.reason}"
    times = "once" if kept.restarts == 1 else f"{kept.restarts} times"
    since = f"since {_at(kept.since_s)}"
    return f"{name} was started again {times} {since}, last after {last}: {kept.reason}"


def _at(seconds: float) -> str:
    return time.strftime("%m-%d %H:%M:%S", time.localtime(seconds))


def keep(home: Path) -> None:
    """Keep the services of `home` until `points down`, another keeper, or the folder's end."""
    processes.record(home, NAME, psutil.Process(), None)
    keeper = Keeper(home)
    while _is_mine(home):
        keeper.look()
        time.sleep(LOOK_EVERY_S)


class Keeper:
    """One look after the other at the services of a folder."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._running: dict[str, psutil.Process] = {}
        # Asks in a row without an answer, of those that have answered: who starts may read a log first.
        self._unanswered: dict[str, int] = {}
        self._ask_next_s = 0.0
        self._kept = {name: Kept(since_s=time.time()) for name in SERVICES} | told(home)
        self._write()

    def look(self) -> None:
        """Start what is dead and due; end what is silent."""
        asks = time.monotonic() >= self._ask_next_s
        if asks:
            self._ask_next_s = time.monotonic() + ASK_EVERY_S
        for name, kept in self._kept.items():
            process = processes.find(self._home, name)
            if process:
                self._runs(name, kept, process)
                if asks or self._unanswered.get(name):
                    self._ask(name, process)
                continue
            if died := self._running.pop(name, None):
                self._died(name, kept, died)
            if not kept.given_up and time.time() >= kept.next_s:
                self._start(name, kept)

    def _runs(self, name: str, kept: Kept, process: psutil.Process) -> None:
        if self._running.get(name) != process:
            self._unanswered.pop(name, None)
        self._running[name] = process
        if kept.failed_starts or (kept.early_deaths and _age_s(process) >= STEADY_S):
            kept.failed_starts = kept.early_deaths = 0
            self._write()

    def _ask(self, name: str, process: psutil.Process) -> None:
        service = SERVICES[name]
        if (stack := stack_file.read(self._home)) is None:
            return  # the folder has gone, and the keeper goes, too
        if _answers(service.address(self._home, stack), service.ASK):
            self._unanswered[name] = 0
        elif name in self._unanswered:
            self._unanswered[name] += 1
        if self._unanswered.get(name) == UNANSWERED_MAX:
            log.error("a service is silent, and is ended", service=name, asks=UNANSWERED_MAX)
            process.kill()

    def _died(self, name: str, kept: Kept, process: psutil.Process) -> None:
        was_silent = self._unanswered.pop(name, 0) >= UNANSWERED_MAX
        kept.last_s = time.time()
        kept.early_deaths = kept.early_deaths + 1 if _age_s(process) < STEADY_S else 0
        kept.next_s = kept.last_s + delay_s(kept.early_deaths)
        kept.reason = self._reason(name, process, was_silent)
        log.error("a service died", service=name, reason=kept.reason, again_in_s=delay_s(kept.early_deaths))
        self._write()

    def _reason(self, name: str, process: psutil.Process, was_silent: bool) -> str:
        """Why it died; of a broker that an app may have ended also who wrote last."""
        printed = kafka.last_words(self._home) if name == kafka.NAME else ""
        silent = f"it lived, did not answer {UNANSWERED_MAX} times, and was ended" if was_silent else ""
        if name == kafka.NAME and (printed or silent):
            return f"{printed or silent}; {last_producers.told(last_producers.of(self._home))}"
        return silent or processes.ended_by(process) or "it was killed, or said nothing"

    def _start(self, name: str, kept: Kept) -> None:
        try:
            with folder.locked(self._home / "run" / "stack.lock"):
                if SERVICES[name].find(self._home) or not _is_mine(self._home):
                    return
                stack = stack_file.read(self._home)
                assert stack, "there is one where the keeper is its stack's"
                _refuse_other_ports(stack, name)
                SERVICES[name].ensure_running(self._home, stack, lambda what: log.info(what))
                self._running[name] = SERVICES[name].find(self._home)
        except (OperatorError, OSError) as error:
            kept.failed_starts += 1
            kept.last_s = time.time()
            kept.next_s = kept.last_s + delay_s(kept.failed_starts + 1)
            kept.reason = str(error)
            log.warning("a service does not start", service=name, reason=kept.reason, gave_up=kept.given_up)
        else:
            kept.restarts += 1
            self._unanswered[name] = 0
            log.info("a service was started again", service=name, restarts=kept.restarts)
        self._write()

    def _write(self) -> None:
        stack_file.write_secret(_state_path(self._home), msgspec.json.encode(self._kept))


def _refuse_other_ports(stack: StackFile, service: str) -> None:
    deadline_s = time.monotonic() + PORT_FREE_WITHIN_S
    for port in (port for name, port in stack.ports.items() if name.partition("-")[0] == service):
        while not ports.is_free(port) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        if not ports.is_free(port):
            raise OperatorError(
                f"Port {port} of {service} was taken by another program.",
                "stop that program; or stop the workers, and `points up` chooses another port.",
            )


def _answers(address: tuple[str, int] | str, asked: bytes) -> bool:
    """Whether who listens at this port or socket says anything to this, were it that it hangs up."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as connection:
        connection.settimeout(ASK_TIMEOUT_S)
        try:
            connection.connect(address)
            connection.sendall(asked)
            connection.recv(1)
        except ConnectionResetError:
            return True
        except OSError:
            return False
    return True


def _age_s(process: psutil.Process) -> float:
    return time.time() - process.create_time()  # known of a dead one, too: psutil remembers it


def _is_mine(home: Path) -> bool:
    entry = processes.read_record(home, NAME)
    return entry is not None and entry.pid == os.getpid() and stack_file.stack_path(home).exists()


def _state_path(home: Path) -> Path:
    return home / "run" / "keeper.state"  # no .json, which would be a process
