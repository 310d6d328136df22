"""Fixtures that every test may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from loadtest.apps import with_apps
from stream import settings as settings_module
from stream.engine import cycle
from stream.settings import Settings

# An example's time tells how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("without deadlines", deadline=None)
hypothesis.settings.load_profile("without deadlines")
cycle.READ_BACK_EVERY_BLOCKS = 1


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of an embedded stack that runs for the whole session; mark its users `stack`.

    With POINTS_TEST_HOME set, the stack of that folder is used and left running: a developer's short cut.
    """
    from stream.operate import stack as embedded

    if kept := os.environ.get("POINTS_TEST_HOME"):
        yield with_apps(settings_module.load(env={}, home=Path(kept)))
        return
    home = tmp_path_factory.mktemp("stack")
    try:
        env = {"POINTS_SIMULATED_CLOCK": "1", "POINTS_PLATFORM_ID": "test"}
        yield with_apps(embedded.up(home, env=env))
    finally:
        embedded.down(home)
