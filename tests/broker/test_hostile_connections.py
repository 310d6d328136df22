"""Connections that announce requests and never send them: the broker keeps its memory, others their place."""

import resource
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from loadtest.flood.probe import Probe
from stream.embedded import kafka, kafka_config
from tests.broker import hostile

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
CONNECTIONS, AT_ONCE = 2_000, 100
HELD_S = 30.0
OUTCOME_WITHIN_S = 10.0
NEIGHBOUR, MYSELF = "127.0.0.2", "127.0.0.1"


@pytest.fixture
def probe(platform) -> Iterator[Probe]:
    """The app `bus` on 127.0.0.1, which has had outcomes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 3 * CONNECTIONS), hard))
    platform.worker()
    probe = Probe(platform.settings)
    probe.latencies_s(hostile.SETTLED_S)
    yield probe
    probe.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def hold(platform, source: str, count: int, login: bool) -> list[socket.socket]:
    """So many connections to the apps' listener that announce the most; those that the broker keeps."""
    host, _, port = platform.settings.kafka_apps_bootstrap.partition(":")
    user = "app-metro"
    credentials = (user, platform.settings.password(user)) if login else None
    size_bytes = kafka_config.REQUEST_BYTES_MAX if login else kafka_config.LOG_IN_BYTES_MAX
    # Beside each other, as the broker lets each that comes too fast wait: one after the other it would have
    # closed the first ones as idle, after two minutes, before the last has come.
    with ThreadPoolExecutor(AT_ONCE) as threads:
        opened = [
            threads.submit(hostile.announce, (host, int(port)), source, size_bytes, credentials)
            for _ in range(count)
        ]
    return [connection for job in opened if (connection := job.result())]


@pytest.mark.parametrize("login", [False, True], ids=["without a password", "with a password"])
def test_2000_connections_of_a_neighbour_take_nothing_from_others(
    platform, probe: Probe, login: bool
) -> None:
    broker = kafka.find(platform.settings.home)
    held = hold(platform, NEIGHBOUR, CONNECTIONS, login)
    while_held_s = probe.latencies_s(HELD_S)
    still = [connection for connection in held if hostile.is_open(connection)]
    assert 0 < len(still) <= kafka_config.CONNECTIONS_PER_IP_MAX, "none was there for all that time"
    for connection in held:
        connection.close()
    assert max(probe.latencies_s(1.0)) < OUTCOME_WITHIN_S
    assert max(while_held_s) < OUTCOME_WITHIN_S, "even while they were there"
    assert kafka.find(platform.settings.home) == broker


def test_an_app_that_takes_all_memory_for_requests_delays_others_and_ends_nothing(
    platform, probe: Probe
) -> None:
    """From the address that all share here no limit by address holds; the memory's own does."""
    broker = kafka.find(platform.settings.home)
    enough = 2 * kafka_config.QUEUED_BYTES_MAX // kafka_config.REQUEST_BYTES_MAX
    held = hold(platform, MYSELF, enough, login=True)
    assert len(held) == enough
    release = threading.Timer(5, lambda: [connection.close() for connection in held])
    release.start()
    waited_s = max(probe.latencies_s(1.0))
    release.join()
    assert waited_s < 5 + OUTCOME_WITHIN_S
    assert kafka.find(platform.settings.home) == broker
