"""Errors that nobody nearer to their cause explained: one line what, one line what to do; a defect is one."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import aiokafka.errors
import pytest
import redis.exceptions
from clickhouse_connect.driver.exceptions import OperationalError
from confluent_kafka import KafkaError, KafkaException

from stream import cli
from stream.errors import OperatorError, explained, in_background


def system(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(
    ("error", "what", "todo"),
    [
        (OperatorError("a", "b"), "a", "b"),
        (MemoryError(), "no memory", "give it more"),
        (system(errno.ENOSPC, "block"), "disk is full while writing block", "free some space"),
        (system(errno.EDQUOT), "disk is full", "free some space"),
        (system(errno.EACCES, "/x"), "Permission denied (/x)", "POINTS_HOME"),
        (system(errno.ENOENT, "/x"), "No such file or directory (/x)", "put back"),
        (system(errno.EADDRINUSE), "Cannot listen", "points up"),
        (system(errno.EMFILE), "No more files", "ulimit"),
        (system(errno.EIO, "/x"), "Input/output error (/x)", "put that right"),
        (
            ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
            "does not answer",
            "points doctor",
        ),
        (subprocess.TimeoutExpired(["/opt/java", "-x"], 120), "java did not end within 120 s", "processor"),
        (TimeoutError(), "does not answer: TimeoutError", "points doctor"),
        (aiokafka.errors.KafkaConnectionError("gone"), "Kafka does not do", "points doctor"),
        (aiokafka.errors.TopicAuthorizationFailedError("ledger"), "Kafka refuses a right", "points up"),
        (aiokafka.errors.AuthenticationFailedError("no"), "Kafka does not let this", "password"),
        (KafkaException(KafkaError(KafkaError._TRANSPORT)), "Kafka does not do", "points doctor"),
        (redis.exceptions.ConnectionError("gone"), "Redis does not do", "points doctor"),
        (redis.exceptions.AuthenticationError("no"), "Redis does not let this", "password"),
        (OperationalError("gone"), "ClickHouse does not do", "points doctor"),
    ],
)
def test_every_kind_says_what_and_what_to_do(error: Exception, what: str, todo: str) -> None:
    found = explained(error)
    assert what in found.message
    assert todo in found.todo
    assert "\n" not in found.message


@pytest.mark.parametrize(
    "error", [KeyError("uid"), RuntimeError(), AssertionError(), aiokafka.errors.IllegalStateError("no")]
)
def test_a_defect_is_never_dressed_as_an_operators_error(error: Exception) -> None:
    assert explained(error) is None


def test_a_defect_of_a_command_shows_its_traceback_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(cli, "points", lambda **_: {}["uid"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    told = capsys.readouterr().err
    assert caught.value.code == 1
    assert "KeyError: 'uid'" in told
    assert "What to do: keep them" in told


def test_a_task_that_nobody_waits_for_tells_its_error() -> None:
    import asyncio

    failed: list[BaseException] = []

    async def fails() -> None:
        raise KeyError

    async def ends() -> None:
        """As it should."""

    async def main() -> None:
        tasks = [in_background(work, failed.append) for work in (fails(), ends(), asyncio.sleep(60))]
        tasks[2].cancel()
        await asyncio.wait(tasks)

    asyncio.run(main())
    assert [type(error) for error in failed] == [KeyError]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_a_commands_output_is_told() -> None:
    with open("/dev/full", "w") as output:
        done = subprocess.run(
            [sys.executable, "-u", "-m", "stream.cli", "doctor", "--json"],
            env={**os.environ, "POINTS_HOME": "/nowhere/to/be/found"},
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert "The disk is full" in done.stderr
