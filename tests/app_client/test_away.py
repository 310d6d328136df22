"""The broker is away, and the app does not notice: no call waits for the network."""

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from sinks.app_client import AppClient, ClientError, OutboxFullError, Refused
from tests.app_client.test_records import TRIP


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody answers: connections are taken and left alone."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        yield f"127.0.0.1:{deaf.getsockname()[1]}"


def away(nobody: str, outbox_path, **options: object) -> AppClient:
    return AppClient("metro", outbox_path, bootstrap=nobody, password="?", **options)


def test_report_returns_within_milliseconds(nobody, outbox_path) -> None:
    with away(nobody, outbox_path) as client:
        took_s = []
        for number in range(100):
            start_s = time.perf_counter()
            client.report(**TRIP | {"source_txn": f"gate-{number}"})
            took_s.append(time.perf_counter() - start_s)
        assert client.pending() == {"queued": 100}
        assert client.outcome(client.report(**TRIP | {"source_txn": "gate-0"}), timeout_s=0.01) is None
        assert not client.flush(0.01)
    # Each is a write to the disk; a network time-out would be 2 s.
    assert statistics.median(took_s) < 0.1
    with away(nobody, outbox_path) as client:
        assert client.pending() == {"queued": 100}, "the next process goes on with them"


def test_what_stands_in_the_way_is_told(nobody, outbox_path) -> None:
    with away(nobody, outbox_path, security="SASL_PLAINTEXT") as client:
        end_s = time.monotonic() + 20
        while not client.trouble():
            assert time.monotonic() < end_s
            time.sleep(0.05)


def test_a_full_outbox_and_a_bad_record_are_errors_at_once(nobody, outbox_path) -> None:
    with away(nobody, outbox_path, capacity=1) as client:
        with pytest.raises(Refused):
            client.report(**TRIP | {"activity": {"distance_m": 1.5}})
        report_id = client.report(**TRIP)
        with pytest.raises(OutboxFullError):
            client.report(**TRIP | {"source_txn": "gate-2"})
        assert client.report(**TRIP) == report_id, "the same behaviour is the same record"
        with pytest.raises(KeyError):
            client.outcome("20240907-unknown")


def test_a_second_process_is_refused_and_a_child_after_a_fork_too(nobody, outbox_path) -> None:
    program = f"from sinks.app_client import AppClient; AppClient('metro', {str(outbox_path)!r}, " + (
        f"bootstrap={nobody!r}, password='?')"
    )
    with away(nobody, outbox_path) as client:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert "another process or client has it open" in done.stderr
        client._pid = os.getppid()  # as a child sees it; a real fork of a test run leaves its threads behind
        with pytest.raises(ClientError, match="before a fork"):
            client.report(**TRIP)


def test_a_closed_client_says_so_and_lets_nobody_wait(nobody, outbox_path) -> None:
    client = away(nobody, outbox_path)
    waiting = client.future(client.report(**TRIP))
    client.close()
    client.close()
    assert waiting.cancelled()
    with pytest.raises(ClientError, match="closed"):
        client.report(**TRIP)
