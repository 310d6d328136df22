"""What was refused is found, shown, decided once more and dismissed, on a real broker; nothing doubles."""

import json
from collections import Counter

import pytest

from schemas.shards import shards_of
from schemas.topics import intake_topic
from schemas.verdicts import CODES
from tests.broker.test_adoption import told
from tests.broker.traffic import send

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
METRO = intake_topic("metro")
LABELS = ("--by", "li", "--approved-by", "wang", "--reason", "their partitioner was wrong")


class Misrouting:
    """Sends what `send` makes to the partition behind the right one."""

    def __init__(self, platform) -> None:
        self.producer, self.shards = platform.producer("app-metro"), platform.settings.shards
        self.places: list[str] = []

    def produce(self, topic: str, value: bytes, key: str) -> None:
        partition = (shards_of([key], self.shards)[0] + 1) % self.shards
        self.producer.produce(topic, value, key=key, partition=partition, on_delivery=self.delivered)

    def delivered(self, error, message) -> None:
        assert error is None
        self.places.append(f"metro/{message.partition()}/{message.offset()}")

    def poll(self, timeout_s: float) -> None:
        self.producer.poll(timeout_s)


def verdicts(platform) -> Counter:
    return Counter(
        CODES[code] for block in platform.accepted() for code in block.rows.column("verdict").to_pylist()
    )


def listed(points, *options: str) -> dict[str, tuple[int, int]]:
    groups = json.loads(points("dead", "list", "--json", *options))
    return {group["verdict"]: (group["records"], group["open"]) for group in groups}


def test_what_was_refused_is_shown_replayed_and_dismissed(platform, points) -> None:
    wrong = Misrouting(platform)
    send(wrong, "metro", 0, 6)
    phone = b'{"version":1,"kind":"report","note":"13800138000"}'
    wrong.producer.produce(METRO, phone, partition=0)
    wrong.producer.produce(METRO, b"x" * 20_000, partition=1)
    assert wrong.producer.flush(30) == 0
    platform.worker()
    platform.wait_until_decided(8)
    all_open = {"misrouted": (6, 6), "malformed": (1, 1), "too_large": (1, 1)}
    platform.wait_for(lambda: listed(points) == all_open)
    assert listed(points, "--app", "bus") == {}
    [malformed] = json.loads(points("dead", "list", "--json", "--verdict", "malformed"))
    [place] = malformed["places"]
    shown = points("dead", "show", place)
    assert "record: unknown field" in shown
    assert "###########" in shown
    assert "13800138000" not in shown
    assert points("dead", "show", place, "--raw") == phone.decode()

    misrouted = ("--app", "metro", "--verdict", "misrouted")
    assert "6 to be decided once more; 0 of these still are no report" in points(
        "dead", "replay", *misrouted, "--dry-run"
    )
    assert "credited" not in verdicts(platform), "a dry run decides nothing"
    assert "--by must be given" in points("dead", "replay", *misrouted, ends=2)
    assert "6 commands decided" in points("dead", "replay", *misrouted, *LABELS)
    assert verdicts(platform)["credited"] == 6
    credited = told(platform, "metro", "credited")
    assert {f"metro/{o['partition']}/{o['offset']}" for o in credited} == set(wrong.places[:6])
    assert listed(points)["misrouted"] == (6, 0)

    assert "1 commands decided" in points(
        "dead", "replay", wrong.places[0], *LABELS
    )  # once more, by its place
    assert (verdicts(platform)["credited"], verdicts(platform)["duplicate"]) == (6, 1)

    assert "1 commands decided" in points("dead", "dismiss", place, *LABELS)
    assert listed(points)["malformed"] == (1, 0)
    refused = points("dead", "replay", "--app", "metro", "--verdict", "too_large", *LABELS)
    assert "1 cannot be replayed" in refused
    assert "No refused record is listed at metro/0/999" in points("dead", "show", "metro/0/999", ends=1)
