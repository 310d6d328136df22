"""Each promise about Redis, on the embedded server and, where it is installed, on the Redis of the system."""

import asyncio
import shutil
from collections.abc import Iterator

import pytest

from tests.redis.servers import DEBIAN, Server, server

ANOTHER = pytest.mark.skipif(not shutil.which(DEBIAN), reason="no redis-server on PATH")
KINDS = ["valkey", pytest.param("redis", marks=ANOTHER)]


@pytest.fixture(params=KINDS)
def running(request: pytest.FixtureRequest) -> Iterator[Server]:
    with server(request.param) as made:
        yield made


@pytest.fixture
def run() -> Iterator:
    with asyncio.Runner() as runner:
        yield runner.run
