"""What an app can make the broker write about it is bounded."""

import re

import pytest

from stream.embedded.kafka_config import LOG4J2_PROPERTIES
from stream.settings import Settings
from tests.broker import hostile

PROPERTIES = dict(line.split("=", 1) for line in LOG4J2_PROPERTIES.splitlines() if line)
APPENDERS = sorted({name.split(".")[1] for name in PROPERTIES if name.startswith("appender.")})
TOPICS = 40_000
REQUESTS = 3


def bound_bytes(appender: str) -> int:
    """What the files of one log take at most: the one that is written, and those before it."""
    size_mib = int(re.fullmatch(r"(\d+)MB", PROPERTIES[f"appender.{appender}.policies.size.size"]).group(1))
    return size_mib * (int(PROPERTIES[f"appender.{appender}.strategy.max"]) + 1) << 20


def test_every_log_of_the_broker_is_a_few_files_of_bounded_size() -> None:
    assert APPENDERS == ["broker", "refused", "writes"]
    assert sum(map(bound_bytes, APPENDERS)) < 40 << 20
    assert {PROPERTIES[f"appender.{appender}.type"] for appender in APPENDERS} == {"RollingFile"}


@pytest.mark.stack
def test_requests_for_topics_of_others_do_not_fill_the_disk(stack: Settings) -> None:
    """One request of 400 KB leaves 9 MB of lines, one for each topic that the app may not see."""
    host, _, port = stack.kafka_apps_bootstrap.partition(":")
    names = [b"t%07d" % number for number in range(TOPICS)]
    for _ in range(REQUESTS):
        login = ("app-metro", stack.password("app-metro"))
        assert hostile.ask_for_topics((host, int(port)), login, names) > TOPICS
    logs = list((stack.home / "logs").glob("kafka-refused.log*"))
    assert any(b"Denied operation = DESCRIBE" in log.read_bytes() for log in logs)
    line_bytes = 200
    assert REQUESTS * TOPICS * line_bytes > bound_bytes("refused"), "more was said than is kept"
    assert sum(log.stat().st_size for log in logs) <= bound_bytes("refused") + 4096
