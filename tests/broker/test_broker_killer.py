"""One compressed batch ends the broker, whatever its limits: it costs seconds, nothing that was acknowledged,
and the app is named and can be shut out, even while it sends its batch again and again."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.flood.probe import Probe
from schemas.topics import COMMANDS
from stream.embedded import kafka, keeper, processes
from tests.broker import hostile
from tests.broker.traffic import send

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
HOSTILE = "ridecode"
RECORDS = 5_000_000  # in 3 KB; the heap has room for the list of them
RECORDS_BEYOND_THE_HEAP = 40_000_000  # in 24 KB
AGAIN_WITHIN_S = 15.0
OUTCOMES_WITHIN_S = 30.0
QUIET_S = 5.0
DIES_WITHIN_S = 150.0  # 5 to 12 s of CPU until the collector gives up, on a machine that others use, too


class Load:
    """The app `metro`, which sends until it is told to end."""

    def __init__(self, platform) -> None:
        self.sent = 0
        self._producer = platform.producer("app-metro", acks="all", **{"enable.idempotence": True})
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(0.1):
            send(self._producer, "metro", self.sent, 20)
            self.sent += 20

    def end(self) -> int:
        """How many records the broker has acknowledged, which are all that were sent."""
        self._end.set()
        self._thread.join()
        assert self._producer.flush(60) == 0
        return self.sent


def wait_until(what: Callable[[], bool], timeout_s: float) -> float:
    """For how long it was waited."""
    began_s = time.monotonic()
    while not what():
        assert time.monotonic() < began_s + timeout_s
        time.sleep(0.05)
    return time.monotonic() - began_s


def records_of(platform, app: str) -> int:
    return sum(count for (topic, *_), count in platform.rows().items() if topic == f"intake.{app}")


def test_a_batch_that_ends_the_broker_costs_seconds_and_no_record_and_its_app_is_named(platform) -> None:
    home = platform.settings.home
    worker = platform.worker()
    probe = Probe(platform.settings)
    probe.latencies_s(hostile.SETTLED_S)
    load = Load(platform)
    first = kafka.find(home)
    for count in (RECORDS, RECORDS_BEYOND_THE_HEAP):
        asyncio.run(hostile.produce(platform.settings, HOSTILE, hostile.equal_records(count)))
    wait_until(lambda: not processes.is_alive(first), DIES_WITHIN_S)

    died_s = time.monotonic()
    again = wait_until(lambda: keeper.told(home)["kafka"].restarts == 1, 60)
    latency_s = max(probe.latencies_s(1.0))
    outcomes = time.monotonic() - died_s
    print(
        f"answers after {again:.1f} s, outcomes after {outcomes:.1f} s (the slowest took {latency_s:.1f} s)"
    )
    assert again < AGAIN_WITHIN_S
    assert outcomes < OUTCOMES_WITHIN_S

    assert f"{HOSTILE} (nothing of it was taken)" in keeper.told(home)["kafka"].reason
    sent = load.end()
    probe.close()
    platform.wait_for(lambda: records_of(platform, "metro") >= sent)
    assert records_of(platform, "metro") == sent
    assert platform.rows() == platform.committed_records()
    assert set(platform.rows().values()) == {1}
    assert worker.poll() is None, "workers live through it"
    assert not any(topic == f"intake.{HOSTILE}" for topic, *_ in platform.rows() if topic != COMMANDS)


def test_an_app_that_ends_the_broker_again_and_again_is_shut_out_while_it_does(platform) -> None:
    home = platform.settings.home
    platform.worker()
    probe = Probe(platform.settings)
    probe.latencies_s(hostile.SETTLED_S)
    stop = threading.Event()
    batch = hostile.equal_records(RECORDS_BEYOND_THE_HEAP)

    def again_and_again() -> None:
        while not stop.wait(0.1):
            asyncio.run(hostile.produce(platform.settings, HOSTILE, batch))

    attack = threading.Thread(target=again_and_again)
    attack.start()
    try:
        wait_until(lambda: keeper.told(home)["kafka"].last_s is not None, DIES_WITHIN_S)
        done = subprocess.run(
            [Path(sys.executable).parent / "points", "app", "suspend", "--now", HOSTILE],
            env={"POINTS_HOME": str(home), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        deaths = keeper.told(home)["kafka"].restarts
        while max(probe.latencies_s(20.0)) > QUIET_S:  # a batch from before ends the broker once more
            pass
        assert keeper.told(home)["kafka"].restarts <= deaths + 2, "one that was under way, and that batch"
    finally:
        stop.set()
        attack.join()
        probe.close()
