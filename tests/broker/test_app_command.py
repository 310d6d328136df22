"""An app's whole life by `points app`: on the platform with one command, off it at one row of each shard."""

import json

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.block import Block
from schemas.verdicts import CODES
from tests.broker.traffic import send

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
ADD = (
    "app",
    "add",
    "taxi",
    "--operator",
    "taxi company",
    "--methodology",
    "SZ-METRO",
    "--scene",
    "metro-gate",
)


def verdicts(platform, app: str) -> dict[int, list[str]]:
    """By shard, in the ledger's order: the verdict of each record of the app, and each command about it."""

    def of(block: Block) -> list[str]:
        columns = (block.rows.column(n).to_pylist() for n in ("source", "verdict", "detail"))
        return [
            detail if detail.startswith(f"app {app}:") else CODES[verdict]
            for source, verdict, detail in zip(*columns, strict=True)
            if detail.startswith(f"app {app}:")
            or (source >= 0 and block.meta.sources[source].topic == f"intake.{app}")
        ]

    found: dict[int, list[str]] = {}
    for block in platform.accepted():
        found.setdefault(block.meta.shard, []).extend(of(block))
    return found


def test_an_app_comes_reports_is_suspended_and_comes_back(platform, points) -> None:
    platform.worker()
    platform.wait_for(lambda: platform.logs().count("shard ready") == platform.settings.shards)
    told = json.loads(points(*ADD, "--json"))
    assert (told["writes"], told["reads"], told["behind"]) == ("intake.taxi", "outcomes.taxi", [])
    assert "registered already" in points(*ADD, ends=1)
    [listed] = [app for app in json.loads(points("app", "list", "--json")) if app["app"] == "taxi"]
    assert (listed["active"], listed["shards_in_force"], listed["produce_bytes_s"]) == (True, 4, 128 << 10)

    old = told["credentials"]["KAFKA_PASSWORD"]
    platform.settings = platform.settings.with_password("app-taxi", old)
    taxi = platform.producer("app-taxi")
    send(taxi, "taxi", 0, 100)
    assert taxi.flush(30) == 0
    platform.wait_until_decided(100)

    assert "in force in all 4 shards" in points("app", "suspend", "taxi")
    send(taxi, "taxi", 100, 100)  # the broker still takes what it sends: nothing is lost unseen
    assert taxi.flush(30) == 0
    platform.wait_until_decided(200)
    assert "suspended" in points("app", "list")
    assert "in force in all 4 shards" in points("app", "resume", "taxi")
    send(taxi, "taxi", 100, 100)  # the same ids: a suspended app's are not remembered
    assert taxi.flush(30) == 0
    platform.wait_until_decided(300)

    found = verdicts(platform, "taxi")
    counts = [[0, 0, 0] for _ in found]
    for shard, rows in found.items():
        marks = [f"app taxi: {state}" for state in ("active", "suspended", "active")]
        assert [row for row in rows if row.startswith("app taxi")] == marks
        assert rows[0] == marks[0]
        suspended, resumed = rows.index(marks[1]), len(rows) - 1 - rows[::-1].index(marks[2])
        parts = rows[1:suspended], rows[suspended + 1 : resumed], rows[resumed + 1 :]
        assert [set(part) for part in parts] == [{"credited"}, {"app_not_active"}, {"credited"}]
        counts[shard] = [len(part) for part in parts]
    assert [sum(column) for column in zip(*counts, strict=True)] == [100, 100, 100]

    change = ("app", "change", "taxi", "--methodology", "SZ-BUS-BEV", "--quota-kib-s", "64")
    assert "in force in all 4 shards" in points(*change)
    [listed] = [app for app in json.loads(points("app", "list", "--json")) if app["app"] == "taxi"]
    assert (listed["methodologies"], listed["scenes"]) == (["SZ-BUS-BEV"], ["metro-gate"])
    assert listed["produce_bytes_s"] == 64 << 10

    rotated = json.loads(points("app", "rotate", "taxi", "--json"))["credentials"]["KAFKA_PASSWORD"]
    assert log_in(platform, rotated)
    assert not log_in(platform, old)
    for secret in (old, rotated):
        assert not [p for p in platform.settings.home.glob("*.json") if secret in p.read_text()], "kept"


def log_in(platform, password: str) -> bool:
    """Whether the broker lets the app in with this password."""
    settings = platform.settings.with_password("app-taxi", password)
    try:
        AdminClient({**settings.librdkafka("app-taxi"), "log_level": 0}).list_topics(timeout=5)
    except KafkaException:
        return False
    return True


def test_an_app_that_was_added_before_any_worker_ran_loses_no_report(platform, points) -> None:
    """A worker takes in what the platform said before it decides on what apps said."""
    told = json.loads(points(*ADD, "--json"))
    assert told["behind"] == [0, 1, 2, 3]
    platform.settings = platform.settings.with_password("app-taxi", told["credentials"]["KAFKA_PASSWORD"])
    taxi = platform.producer("app-taxi")
    send(taxi, "taxi", 0, 2_000)
    assert taxi.flush(30) == 0
    platform.worker()
    platform.wait_until_decided(2_000)
    assert {v for rows in verdicts(platform, "taxi").values() for v in rows[1:]} == {"credited"}


def test_what_cannot_be_registered_is_refused_with_field_and_rule(platform, points) -> None:
    assert "There is no app taxi." in points("app", "suspend", "taxi", ends=1)
    assert "There is no app taxi." in points("app", "rotate", "taxi", ends=1)
    assert "SZ-TRAM is in no methodologies file" in points(*ADD[:5], "--methodology", "SZ-TRAM", ends=2)
    assert "id: Expected `str` matching regex" in points("app", "add", "Taxi!", *ADD[3:], ends=2)
    assert "operator: Expected `str` of length" in points(*ADD[:3], "--operator", "", *ADD[5:], ends=2)
