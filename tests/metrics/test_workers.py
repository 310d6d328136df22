"""/metrics of real workers: the sums add up, with each other and with the ledger, and nothing secret is told.

What is compared: at every scrape, for every worker and app, received = Σ verdicts. Over workers: as long as
none is killed, their verdicts are all of the ledger's rows of records, by app and verdict. A worker that is
killed takes with it what it counted since it was asked last; what the others count afterwards is the rest.
"""

import json
import re
import urllib.request
from collections import Counter

import pytest
from click.testing import CliRunner
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from schemas.verdicts import CODES
from stream.operate import stack
from stream.operate.commands.status import addresses_of
from stream.operate.commands.status import status as status_command
from stream.telemetry import snapshot
from stream.telemetry.alerts import ALERTS
from stream.telemetry.flow import flow
from stream.telemetry.intake_state import label_of
from stream.telemetry.snapshot import Snapshot
from tests.metrics.traffic import send_mixed

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
LAW = next(alert for alert in ALERTS if alert.name == "PointsLawViolated")
APPS = ("metro", "bus")


class Watched:
    """A platform whose workers are asked again and again; the law is checked each time."""

    def __init__(self, platform) -> None:
        self.platform, self.sent = platform, 0
        self._producers = {app: platform.producer(f"app-{app}") for app in APPS}

    def send(self, records: int) -> None:
        """So many records of each app."""
        for app, producer in self._producers.items():
            send_mixed(producer, app, self.sent, records)
            producer.flush()
        self.sent += records

    def scrape(self) -> Snapshot:
        now = snapshot.take(self.addresses())
        assert LAW.holds(now) == {}
        return now

    def addresses(self) -> dict[str, str | None]:
        return addresses_of(stack.process_statuses(self.platform.settings.home))

    def until(self, what, timeout_s: float = 60) -> Snapshot:
        """Scrapes until `what` is so; that scrape."""
        seen: list[Snapshot] = []

        def check() -> bool:
            seen.append(self.scrape())
            return what(seen[-1])

        self.platform.wait_for(check, timeout_s)
        return seen[-1]

    def until_drained(self) -> Snapshot:
        """Until every record that was sent is decided, and its outcome published."""
        self.platform.wait_until_decided(len(APPS) * self.sent)
        shards = self.platform.settings.shards
        return self.until(
            lambda now: (
                now.total("points_shard_ready", stage="intake") == shards
                and now.total("points_lag_records") == now.total("points_held_records") == 0
                and now.total("points_lag_blocks", stage="publication") == 0
            )
        )

    def rows(self) -> Counter:
        """The ledger's rows of records, by app and verdict."""
        rows: Counter = Counter()
        for block in self.platform.accepted():
            topics = [span.topic for span in block.meta.sources]
            for row in block.rows.select(["source", "verdict"]).to_pylist():
                if row["source"] >= 0:
                    rows[label_of(topics[row["source"]]), CODES[row["verdict"]]] += 1
        return rows


def counted(now: Snapshot) -> Counter:
    sums = now.sums("points_verdicts_total", ("app", "verdict"))
    return Counter({key: int(value) for key, value in sums.items() if value})


def workers(now: Snapshot) -> set[str]:
    return {sample.labels["instance"] for sample in now.select("up") if sample.value}


@pytest.fixture
def watched(platform) -> Watched:
    return Watched(platform)


def test_sums_add_up_through_a_rebalance_and_a_kill(watched: Watched) -> None:
    watched.platform.worker()
    watched.until(lambda now: now.total("points_shard_ready", stage="intake") == 4)
    watched.send(1_000)
    now = watched.until_drained()
    assert counted(now) == watched.rows()
    assert {verdict for _, verdict in counted(now)} >= {
        "credited", "malformed", "too_late", "methodology_unknown", "recorded_only", "unsupported_version"
    }  # fmt: skip
    assert now.total("points_lag_seconds") == 0

    second = watched.platform.worker()
    for _ in range(10):  # while it joins
        watched.send(100)
        watched.scrape()
    watched.until(lambda now: len(now.sums("points_shard_ready", ("instance",), stage="intake")) == 2)
    watched.send(200)
    now = watched.until_drained()
    assert workers(now) == {"intake", "intake-2"}
    assert now.total("points_folded_blocks_total") == 4, "more than the genesis blocks: a cycle was cut off"
    assert counted(now) == watched.rows()

    second.kill()
    second.wait()
    before, rows_before = watched.scrape(), watched.rows()
    assert workers(before) == {"intake"}
    watched.send(500)
    now = watched.until_drained()
    assert counted(now) - counted(before) == watched.rows() - rows_before
    down = next(alert for alert in ALERTS if alert.name == "PointsWorkerDown")
    assert down.holds(now) == {("intake-2",): 0}

    third = watched.platform.worker()
    watched.until(lambda now: workers(now) == {"intake", "intake-2"})
    watched.send(500)
    third.kill()  # in the middle of something
    third.wait()
    now = watched.until_drained()
    rows = watched.rows()
    assert all(records <= rows[key] for key, records in counted(now).items())
    assert now.total("points_lag_seconds", stage="intake") == 0


def test_archive_lag_rises_without_its_worker_and_ends_with_it(watched: Watched) -> None:
    watched.platform.worker()
    archive = watched.platform.worker("archive")
    watched.send(200)
    watched.until_drained()
    now = watched.until(lambda now: _archived(now) == _decided(now))
    assert now.total("points_lag_seconds", stage="archive") == 0
    had = _archived(now)

    archive.terminate()
    archive.wait(30)
    lags = []
    for _ in range(2):
        watched.send(200)
        stage = flow(watched.until_drained(), archived=had).stages[2]
        lags.append(stage.lag)
    assert 0 < lags[0] < lags[1]

    watched.platform.worker("archive")
    watched.until(lambda now: _archived(now) == _decided(now) and not now.total("points_lag_blocks"))


def _archived(now: Snapshot) -> dict[int, int]:
    return {shard.number: shard.archived_seq for shard in flow(now).shards if shard.archived_seq is not None}


def _decided(now: Snapshot) -> dict[int, int]:
    return {shard.number: shard.seq for shard in flow(now).shards if shard.seq is not None}


def test_markers_of_transactions_are_no_lag(watched: Watched) -> None:
    """They take offsets, and no record ever comes of them."""
    producer = watched.platform.producer("admin", **{"transactional.id": "t"})
    producer.init_transactions()
    watched.platform.worker()
    for number in range(3):
        producer.begin_transaction()
        send_mixed(producer, "metro", 100 * number, 40)
        producer.flush()
        if number == 1:
            producer.abort_transaction()
        else:
            producer.commit_transaction()
    watched.platform.wait_until_decided(80)
    now = watched.until(lambda now: now.total("points_lag_records") == 0)
    assert now.total("points_records_received_total", app="metro") == 80


def test_no_person_and_no_secret_is_told_and_status_shows_it_all(watched: Watched) -> None:
    watched.platform.worker()
    watched.platform.worker("archive")
    watched.send(100)
    watched.until_drained()
    settings = watched.platform.settings
    secrets = [
        *settings.credentials.values(),
        settings.query_token,
        *re.findall(r":([^:@/]+)@", settings.redis_url),
    ]
    assert len(secrets) > 4
    for address in watched.addresses().values():
        request = urllib.request.Request(f"http://{address}/metrics")
        plain = urllib.request.urlopen(request, timeout=5).read().decode()
        assert not re.search(r"[0-9a-f]{32}", plain), "a uid"
        assert not [secret for secret in secrets if secret in plain]
        request.add_header("Accept", "application/openmetrics-text; version=1.0.0")
        assert list(
            text_string_to_metric_families(urllib.request.urlopen(request, timeout=5).read().decode())
        )

    told = CliRunner().invoke(status_command, ["--json"], env={"POINTS_HOME": str(settings.home)}).output
    status = json.loads(told)
    assert {"home", "processes", "disk_bytes", "disk_free_bytes", "flow"} <= set(status)
    assert {process["name"] for process in status["processes"]} == {
        "kafka",
        "redis",
        "keeper",
        "intake",
        "archive",
    }
    assert {app["app"]: app["received"] for app in status["flow"]["apps"] if app["received"] > 50} == {
        "metro": 100, "bus": 100
    }  # fmt: skip
    shown = CliRunner().invoke(status_command, env={"POINTS_HOME": str(settings.home)}).output
    assert "metro" in shown
    assert "✓" in shown, shown
