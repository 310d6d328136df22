"""One app's topic is missing, or has a partition too many: told by name; `points up` does what is right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka.admin import NewPartitions

from stream.operate.platform.kafka_admin import admin_client
from stream.operate.platform.onboarding import registry

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


def points(platform, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [Path(sys.executable).parent / "points", *arguments],
        env={
            "POINTS_HOME": str(platform.settings.home),
            "POINTS_SIMULATED_CLOCK": "1",
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def doctors_word_on_topics(platform) -> dict:
    checks = json.loads(points(platform, "doctor", "--json").stdout)["checks"]
    return next(check for check in checks if check["name"] == "topics")


def listed(platform) -> dict[str, list[str]]:
    """What `points app list` says is wrong with each app's topics."""
    return {
        each["app"]: each["topics"] for each in json.loads(points(platform, "app", "list", "--json").stdout)
    }


def test_topics_are_compared_with_the_registry_and_made_again(platform) -> None:
    platform.worker()
    platform.wait_for(
        lambda: (
            {app: len(shards) for app, shards in registry(platform.settings).items()}
            == {"metro": 4, "bus": 4, "ridecode": 4}
        )
    )
    platform.end_workers()
    admin = admin_client(platform.settings)
    for deleted in admin.delete_topics(["intake.metro", "outcomes.bus"]).values():
        deleted.result()
    platform.wait_for(
        lambda: not {"intake.metro", "outcomes.bus"} & admin.list_topics(timeout=10).topics.keys()
    )

    told = doctors_word_on_topics(platform)
    assert told["result"] == "fail"
    assert told["detail"] == "outcomes.bus is missing; intake.metro is missing"
    missing = {"metro": ["intake.metro is missing"], "bus": ["outcomes.bus is missing"], "ridecode": []}
    assert listed(platform) == missing

    up = points(platform, "up")
    assert up.returncode == 0
    assert "intake.metro was missing and is made again, empty" in up.stderr
    assert "`points topics adopt intake.metro`" in up.stderr
    assert "outcomes.bus was missing and is made again" in up.stderr
    assert doctors_word_on_topics(platform)["result"] == "ok"
    assert not any(listed(platform).values())
    assert "made again" not in points(platform, "up").stderr


def test_a_partition_too_many_is_a_warning_that_says_what_it_means(platform) -> None:
    admin = admin_client(platform.settings)
    for made in admin.create_partitions([NewPartitions("intake.bus", 5)]).values():
        made.result()
    platform.wait_for(lambda: len(admin.list_topics(timeout=10).topics["intake.bus"].partitions) == 5)
    told = doctors_word_on_topics(platform)
    assert told["result"] == "warning"
    assert (
        "intake.bus has 5 partitions, not 4: what lies in 4 is not read and gets no outcome" in told["detail"]
    )
    assert "misrouted" in told["detail"]
    assert points(platform, "doctor").returncode == 0
    assert points(platform, "up").returncode == 0
