"""Every command with Kafka and Redis away, and pointed at nothing: told in two lines, no traceback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.apps import with_apps
from stream.embedded import processes
from stream.operate import stack as embedded
from tests.embedded.test_errors import points

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
UID = "0" * 32
ADD = ("app", "add", "taxi", "--operator", "o", "--methodology", "SZ-METRO", "--scene", "metro-gate")
NOWHERE = {
    "POINTS_KAFKA_BOOTSTRAP": "127.0.0.1:9",
    "POINTS_KAFKA_SECURITY": "SASL_PLAINTEXT",
    "POINTS_REDIS_URL": "redis://u:secret@127.0.0.1:9/0",
    "POINTS_CLICKHOUSE_DSN": "clickhouse://u:secret@127.0.0.1:9/d",
    "POINTS_KAFKA_PASSWORD_ADMIN": "secret",
    "POINTS_KAFKA_PASSWORD_INTAKE": "secret",
    "POINTS_KAFKA_PASSWORD_ARCHIVE": "secret",
}


@pytest.fixture(scope="module")
def down(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a stack whose Kafka and Redis are gone."""
    home = tmp_path_factory.mktemp("away")
    try:
        settings = with_apps(embedded.up(home, env={}))
        for name in ("keeper", "kafka", "redis"):  # with nobody left to start them again
            processes.find(home, name).kill()
        yield {
            "POINTS_HOME": str(home),
            "POINTS_KAFKA_PASSWORD_APP_METRO": settings.password("app-metro"),
        }
    finally:
        embedded.down(home)


def check(arguments: tuple[str, ...], env: dict[str, str]) -> None:
    done = points(*arguments, **env)
    assert done.returncode == 1, done.stdout + done.stderr
    what, todo = done.stderr.strip().splitlines()
    assert todo.startswith("What to do: ")
    assert "Traceback" not in done.stdout
    assert not what.startswith("Unable")  # a library's own line
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ADD,
        ("app", "list"),
        ("app", "suspend", "metro"),
        ("app", "rotate", "metro"),
        ("outcomes", "metro"),
        ("balance", UID),
        ("query", "SELECT 1"),
    ],
    ids=" ".join,
)
def test_with_kafka_and_redis_away(arguments: tuple[str, ...], down: dict[str, str]) -> None:
    check(arguments, down)


@pytest.mark.parametrize(
    "arguments", [("up",), ADD, ("app", "list"), ("balance", UID), ("query", "SELECT 1")], ids=" ".join
)
def test_pointed_at_nothing(arguments: tuple[str, ...], tmp_path: Path) -> None:
    check(arguments, {**NOWHERE, "POINTS_HOME": str(tmp_path)})


def test_status_and_doctor_are_there_for_this(down: dict[str, str], tmp_path: Path) -> None:
    assert points("status", **down).returncode == 0
    for env in (down, {**NOWHERE, "POINTS_HOME": str(tmp_path)}):
        done = points("doctor", **env)
        assert done.returncode == 1
        assert done.stderr == ""
        assert "Traceback" not in done.stdout
        assert "secret" not in done.stdout
