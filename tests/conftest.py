"""Fixtures that every test may use."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from schemas.command import App
from stream import settings as settings_module
from stream.kafka_quota import Quota
from stream.onboarding import onboard
from stream.settings import Settings

# Granted what they report in the packaged rules; generous quotas, as tests send as fast as they can.
APPS = (
    App("metro", "metro code app", ["SZ-METRO"], ["metro-gate"]),
    App("bus", "bus code app", ["SZ-BUS-BEV"], ["bus-reader"]),
)
QUOTA = Quota(produce_bytes_s=1 << 30, consume_bytes_s=1 << 30, request_percent=1_000)


def with_apps(settings: Settings, apps: Iterable[App] = APPS) -> Settings:
    """The settings with the passwords of apps that are on the platform from now on."""
    for app in apps:
        settings = onboard(settings, app, QUOTA)
    return settings


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of an embedded stack that runs for the whole session; mark its users `stack`.

    With POINTS_TEST_HOME set, the stack of that folder is used and left running: a developer's short cut.
    """
    from stream.embedded import stack as embedded

    if kept := os.environ.get("POINTS_TEST_HOME"):
        yield with_apps(settings_module.load(env={}, home=Path(kept)))
        return
    home = tmp_path_factory.mktemp("stack")
    try:
        env = {"POINTS_SIMULATED_CLOCK": "1", "POINTS_PLATFORM_ID": "test"}
        yield with_apps(embedded.up(home, env=env))
    finally:
        embedded.down(home)
