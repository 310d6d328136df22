"""A platform of their own for the tests of the client: broker, Redis, one intake worker, real time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.apps import METRO, with_apps
from tests.broker.conftest import Platform


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A running platform with the app metro; everything it started has ended afterwards."""
    from stream.operate import stack as embedded

    home = tmp_path_factory.mktemp("platform")
    platform = Platform(with_apps(embedded.up(home, env={}), [METRO]))
    platform.worker()
    try:
        yield platform
    finally:
        platform.end_workers()
        embedded.down(home)


@pytest.fixture
def outbox_path(tmp_path: Path) -> Path:
    """A new outbox."""
    return tmp_path / "outbox.db"
