"""`points worker intake | archive`: the long-running processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from stream.engine.faust_app import BatchApp
    from stream.settings import Settings
    from stream.telemetry.worker import WorkerMetrics


@click.group()
def worker() -> None:
    """Run a worker in the foreground until SIGTERM."""


@worker.command()
def intake() -> None:
    """Decide reports: intake topics -> ledger, Redis, outcomes."""
    from schemas.rules import load_rules
    from schemas.topics import app_of
    from sinks.kafka_ledger import KafkaLedger, KafkaPublisher
    from sinks.kafka_topics import KafkaTopics
    from sinks.redis_connection import connect
    from sinks.redis_store import RedisStore
    from stream.engine.faust_app import batch_app
    from stream.engine.intake import Intake
    from stream.engine.recovery import Expected
    from stream.engine.redis_guard import GuardedStore
    from stream.operate.platform.clock import check_clock
    from stream.operate.platform.kafka_admin import topics_seen_by

    with _process() as settings:
        client = settings.kafka_client("intake")
        expected = Expected(settings.platform_id, settings.shards, load_rules())
        apps = filter(None, map(app_of, topics_seen_by(settings, "intake")))
        check_clock(settings, "intake")
        store = GuardedStore(RedisStore(connect(settings.redis_url)))
        topics = KafkaTopics(settings.librdkafka("intake"))
        publisher = KafkaPublisher(client, topics)
        handler = Intake(expected, apps, store, KafkaLedger(client), publisher, topics)
        _run(settings, batch_app(settings, "intake", handler.topics, handler), "intake", handler.metrics)


@worker.command()
def archive() -> None:
    """Write the ledger into ClickHouse, and answer queries where ClickHouse is chDB."""
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import ExitStack
    from functools import partial
    from urllib.parse import urlsplit

    from sinks.clickhouse.archive import ClickHouseArchive
    from sinks.clickhouse.engine import Engine, EngineArchive, EngineReader
    from stream.engine.archive import ArchiveHandler
    from stream.engine.faust_app import batch_app, run_beside
    from stream.operate.dead_letter_watch import DeadLetterWatch, old_dead_letters
    from stream.operate.platform.clock import check_clock
    from stream.operate.platform.kafka_admin import topics_seen_by
    from stream.query.analysts import Passwords
    from stream.query.endpoint import QueryEndpoint

    with _process() as settings, ExitStack() as held:
        if settings.query_url:
            held.enter_context(_alone(settings))
        topics_seen_by(settings, "archive")
        check_clock(settings, "archive")
        thread = ThreadPoolExecutor(1, "clickhouse")
        engine = Engine(settings.clickhouse_dsn) if settings.query_url else None
        archive = EngineArchive(engine) if engine else ClickHouseArchive(settings.clickhouse_dsn)
        handler = ArchiveHandler(archive, thread)
        app = batch_app(settings, "archive", list(handler.topics), handler)
        if engine and settings.query_url and settings.query_token:
            reader, passwords = EngineReader(engine), Passwords(settings.home, settings.query_token)
            run_beside(app, QueryEndpoint(settings.query_url, passwords, reader, thread))
        run_beside(
            app, DeadLetterWatch(partial(old_dead_letters, settings), handler.metrics.old_dead_letters)
        )
        _run(settings, app, "archive", handler.metrics, urlsplit(settings.query_url).port)


@contextmanager
def _process() -> Iterator[Settings]:
    """The settings of a worker process. From here on its log tells all of its errors, and each ends it."""
    from stream.errors import end_process
    from stream.log import configure_log
    from stream.settings import home_folder, load

    configure_log(home_folder(os.environ))
    try:
        yield load()
    except Exception as error:
        end_process(error)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """For as long as this process has chDB's folder, no other archive worker of this data folder starts."""
    from stream.errors import OperatorError
    from stream.folder import locked

    (settings.home / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with locked(settings.home / "run" / "archive.lock", wait=False):
            yield
    except BlockingIOError as error:
        raise OperatorError(
            f"Another archive worker uses the ClickHouse of {settings.home}, which belongs to one process.",
            "let that one run, or end it first: `points status` shows it.",
        ) from error


def _run(
    settings: Settings, app: BatchApp, kind: str, metrics: WorkerMetrics, port: int | None = None
) -> None:
    """Runs a worker with its metrics; for so long, `points status` knows it, and where to ask it."""
    from stream.embedded.processes import registered
    from stream.engine.faust_app import run_beside
    from stream.engine.process import run_worker
    from stream.telemetry.endpoint import MetricsEndpoint, add_process_metrics, listen, shown
    from stream.telemetry.worker import BrokerWatch

    with listen(os.environ) as listening, registered(settings.home, kind, port, shown(listening)):
        add_process_metrics(metrics.registry, kind, settings.home)
        run_beside(app, BrokerWatch(metrics))
        run_beside(app, MetricsEndpoint(metrics.registry, listening))
        run_worker(app)
