"""`points worker intake | archive`: the long-running processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from stream.faust_app import BatchApp
    from stream.metrics.worker import WorkerMetrics
    from stream.settings import Settings


@click.group()
def worker() -> None:
    """Run a worker in the foreground until SIGTERM."""


@worker.command()
def intake() -> None:
    """Decide reports: intake topics -> ledger, Redis, outcomes."""
    from schemas.rules import load_rules
    from sinks.kafka_ledger import KafkaLedger, KafkaPublisher
    from sinks.redis_store import RedisStore, connect
    from stream.faust_app import batch_app
    from stream.intake import Intake
    from stream.platform.kafka_admin import admin_client, apps_with_topics, told_to_operator
    from stream.recovery import Expected
    from stream.settings import load

    settings = load()
    client = settings.kafka_client("intake")
    expected = Expected(settings.platform_id, settings.shards, load_rules())
    with told_to_operator(settings):
        apps = apps_with_topics(admin_client(settings, "intake"))
    store = RedisStore(connect(settings.redis_url))
    handler = Intake(expected, apps, store, KafkaLedger(client), KafkaPublisher(client))
    _run(settings, batch_app(settings, "intake", handler.topics, handler), "intake", handler.metrics)


@worker.command()
def archive() -> None:
    """Write the ledger into ClickHouse, and answer queries where ClickHouse is chDB."""
    from concurrent.futures import ThreadPoolExecutor
    from urllib.parse import urlsplit

    from sinks.clickhouse.archive import ClickHouseArchive
    from sinks.clickhouse.engine import Engine, EngineArchive, EngineReader
    from stream.archive import ArchiveHandler
    from stream.faust_app import batch_app, run_beside
    from stream.query.analysts import Passwords
    from stream.query.endpoint import QueryEndpoint
    from stream.settings import load

    settings = load()
    thread = ThreadPoolExecutor(1, "clickhouse")
    engine = Engine(settings.clickhouse_dsn) if settings.query_url else None
    archive = EngineArchive(engine) if engine else ClickHouseArchive(settings.clickhouse_dsn)
    handler = ArchiveHandler(archive, thread)
    app = batch_app(settings, "archive", list(handler.topics), handler)
    if engine:
        reader, passwords = EngineReader(engine), Passwords(settings.home, settings.query_token)
        run_beside(app, QueryEndpoint(settings.query_url, passwords, reader, thread))
    _run(settings, app, "archive", handler.metrics, urlsplit(settings.query_url).port)


def _run(
    settings: Settings, app: BatchApp, kind: str, metrics: WorkerMetrics, port: int | None = None
) -> None:
    """Runs a worker with its metrics; for so long, `points status` knows it, and where to ask it."""
    from stream.embedded.processes import registered
    from stream.faust_app import run_beside, run_worker
    from stream.metrics.endpoint import MetricsEndpoint, add_process_metrics, listen, shown
    from stream.metrics.worker import BrokerWatch

    with listen(os.environ) as listening, registered(settings.home, kind, port, shown(listening)):
        add_process_metrics(metrics.registry, kind, settings.home)
        run_beside(app, BrokerWatch(metrics))
        run_beside(app, MetricsEndpoint(metrics.registry, listening))
        run_worker(app)
