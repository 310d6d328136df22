"""Alerts and the dashboard ask for what workers export, lead to the runbook, and hold when they should."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from stream.telemetry.alerts import ALERTS, rules_file
from stream.telemetry.archive import ArchiveMetrics
from stream.telemetry.endpoint import add_process_metrics
from stream.telemetry.gauges import HELP
from stream.telemetry.intake import IntakeMetrics
from stream.telemetry.snapshot import Sample, Snapshot, read
from tests.docs.blocks import ROOT, anchor

MONITORING = ROOT / "docs" / "monitoring"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text("utf-8")
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}


def exported() -> set[str]:
    """The names of all samples that a worker of either kind may have."""
    process = CollectorRegistry()
    add_process_metrics(process, "intake", Path.cwd())
    registries = (IntakeMetrics(1).registry, ArchiveMetrics(lambda _: None).registry, process)
    families = [family for registry in registries for family in registry.collect()]
    names = {family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, ("",))}
    return names | set(HELP) | {"up"}


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b((?:points|process|python)_\w+|up)\b", re.sub(r'"[^"]*"', "", expression)))


def test_the_rules_file_is_what_the_alerts_are() -> None:
    """Made by `python -m stream.telemetry.alerts > docs/monitoring/alerts.yaml`."""
    text = (MONITORING / "alerts.yaml").read_text("utf-8")
    assert text == rules_file()
    [group] = yaml.safe_load(text)["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [alert.name for alert in ALERTS]
    assert all(rule["expr"] == alert.expression for rule, alert in zip(group["rules"], ALERTS, strict=True))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_the_files() -> None:
    for command in (["check", "rules", "alerts.yaml"], ["check", "config", "prometheus.yaml"]):
        done = subprocess.run(["promtool", *command], cwd=MONITORING, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_alert_leads_to_a_section_that_names_it(alert) -> None:
    [rule] = [
        rule for rule in yaml.safe_load(rules_file())["groups"][0]["rules"] if rule["alert"] == alert.name
    ]
    page, _, fragment = rule["annotations"]["runbook_url"].partition("#")
    assert page == "docs/runbook.md"
    parts = re.split(r"^###? (.+)$", RUNBOOK, flags=re.MULTILINE)
    sections = {anchor(title): text for title, text in zip(parts[1::2], parts[2::2], strict=True)}
    assert f"`{alert.name}`" in sections[fragment]


def test_alerts_and_panels_ask_for_what_is_exported() -> None:
    known = exported()
    expressions = [alert.expression for alert in ALERTS]
    expressions += [target["expr"] for panel in PANELS for target in panel["targets"]]
    for expression in expressions:
        assert metrics_in(expression), expression
        assert metrics_in(expression) <= known, expression
    named_in_runbook = set(re.findall(r"`(points_\w+)`", RUNBOOK))
    assert {name for name in named_in_runbook if name not in known and f"{name}_count" not in known} == set()


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    assert DASHBOARD["schemaVersion"] >= 39
    assert {variable["name"]: variable["type"] for variable in DASHBOARD["templating"]["list"]} == {
        "datasource": "datasource",
        "app": "query",
    }
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    sources = [panel["datasource"] for panel in PANELS]
    sources += [target["datasource"] for panel in PANELS for target in panel["targets"]]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


HEALTHY = """
up{job="points"} 1
points_shards 2
points_shard_ready{stage="intake",shard="0"} 1
points_shard_ready{stage="intake",shard="1"} 1
points_shard_ready{stage="archive",shard="0"} 1
points_shard_ready{stage="archive",shard="1"} 1
points_records_received_total{app="metro"} 10
points_verdicts_total{app="metro",verdict="credited"} 7
points_verdicts_total{app="metro",verdict="duplicate"} 3
points_verdicts_total{app="metro",verdict="internal_error"} 0
points_lag_seconds{stage="intake",shard="0"} 59
points_lag_seconds{stage="publication",shard="0"} 59
points_lag_seconds{stage="archive",shard="0"} 299
points_recoveries_total{reason="redis"} 30
points_rebuilds_total 0
points_redis_refuses{code="OOM",shard="0"} 0
points_service_up{service="redis"} 1
points_disk_free_bytes 6e9
points_source_stopped{app="metro",shard="0",reason="missing"} 0
points_surplus_partitions{app="metro"} 0
points_dead_letters_old{app="metro"} 0
"""
WORSE = {
    "PointsLawViolated": ('points_records_received_total{app="metro"} 11', ("intake", "metro"), 1),
    "PointsInternalError": ('points_verdicts_total{app="metro",verdict="internal_error"} 2', ("metro",), 2),
    "PointsWeekWithoutProgress": ('points_lag_seconds{stage="intake",shard="0"} 604801', ("0",), 604_801),
    "PointsSourceStopped": (
        'points_source_stopped{app="metro",shard="0",reason="missing"} 1',
        ("metro", "0", "missing"),
        1,
    ),
    "PointsSurplusPartitions": ('points_surplus_partitions{app="metro"} 1', ("metro",), 1),
    "PointsWorkerDown": ('up{job="points"} 0', ("intake",), 0),
    "PointsShardUnserved": ('points_shard_ready{stage="intake",shard="1"} 0', (), 1),
    "PointsArchiveUnserved": ('points_shard_ready{stage="archive",shard="1"} 0', (), 1),
    "PointsServiceAway": ('points_service_up{service="redis"} 0', ("intake", "redis"), 0),
    "PointsRedisRefuses": ('points_redis_refuses{code="OOM",shard="0"} 1', ("intake", "OOM"), 1),
    "PointsIntakeLag": ('points_lag_seconds{stage="intake",shard="0"} 61', ("0",), 61),
    "PointsPublicationStuck": ('points_lag_seconds{stage="publication",shard="0"} 61', ("0",), 61),
    "PointsArchiveLag": ('points_lag_seconds{stage="archive",shard="0"} 301', ("0",), 301),
    "PointsDeadLettersOld": ('points_dead_letters_old{app="metro"} 4', ("metro",), 4),
    "PointsRecoveriesFlapping": ('points_recoveries_total{reason="redis"} 61', ("intake", "redis"), 31),
    "PointsRedisRebuilt": ("points_rebuilds_total 1", ("intake",), 1),
    "PointsDiskFilling": ("points_disk_free_bytes 5e9", ("intake",), 5e9),
}


def snapshot(page: str) -> Snapshot:
    samples: dict[str, list[Sample]] = {}
    for name, sample in read(page, "intake"):
        samples.setdefault(name, []).append(sample)
    return Snapshot(0.0, samples)


def test_a_healthy_platform_alerts_nobody() -> None:
    now = snapshot(HEALTHY)
    assert {alert.name: held for alert in ALERTS if (held := alert.holds(now, now))} == {}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_alert_holds_when_it_should(alert) -> None:
    line, key, value = WORSE[alert.name]
    series = line.rpartition(" ")[0]
    worse = "\n".join(line if old.rpartition(" ")[0] == series else old for old in HEALTHY.splitlines())
    assert alert.holds(snapshot(worse), snapshot(HEALTHY)) == {key: value}
    told = alert.told(key, value)
    assert "{{" not in told
    assert all(said in told for said in key if said != "intake" or "instance" in alert.summary)


def test_without_any_worker_all_shards_that_are_known_of_are_unserved() -> None:
    unserved = next(alert for alert in ALERTS if alert.name == "PointsArchiveUnserved")
    page = "\n".join(line for line in HEALTHY.splitlines() if 'stage="archive"' not in line)
    assert unserved.holds(snapshot(page)) == {(): 2}
