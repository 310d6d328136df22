"""`points worker intake | archive`: the long-running processes."""

import click


@click.group()
def worker() -> None:
    """Run a worker in the foreground until SIGTERM."""


@worker.command()
def intake() -> None:
    """Decide reports: intake topics -> ledger, Redis, outcomes."""
    from schemas.rules import load_rules
    from sinks.kafka_ledger import KafkaLedger, KafkaPublisher
    from sinks.redis_store import RedisStore, connect
    from stream.embedded.processes import registered
    from stream.faust_app import batch_app, run_worker
    from stream.intake import Intake
    from stream.kafka_admin import admin_client, apps_with_topics, told_to_operator
    from stream.recovery import Expected
    from stream.settings import load

    settings = load()
    client = settings.kafka_client("intake")
    expected = Expected(settings.platform_id, settings.shards, load_rules())
    with told_to_operator(settings):
        apps = apps_with_topics(admin_client(settings, "intake"))
    store = RedisStore(connect(settings.redis_url))
    handler = Intake(expected, apps, store, KafkaLedger(client), KafkaPublisher(client))
    with registered(settings.home, "intake"):
        run_worker(batch_app(settings, "intake", handler.topics, handler))


@worker.command()
def archive() -> None:
    """Write the ledger into ClickHouse, and answer queries where ClickHouse is chDB."""
    from concurrent.futures import ThreadPoolExecutor
    from urllib.parse import urlsplit

    from sinks.clickhouse.archive import ClickHouseArchive
    from sinks.clickhouse.client import chdb_folder
    from sinks.clickhouse.read_only import ReadOnlyArchive
    from stream.archive import ArchiveHandler
    from stream.embedded.processes import registered
    from stream.faust_app import batch_app, run_beside, run_worker
    from stream.query_endpoint import QueryEndpoint
    from stream.settings import load

    settings = load()
    thread = ThreadPoolExecutor(1, "clickhouse")
    handler = ArchiveHandler(ClickHouseArchive(settings.clickhouse_dsn), thread)
    app = batch_app(settings, "archive", list(handler.topics), handler)
    if folder := chdb_folder(settings.clickhouse_dsn):
        reader = ReadOnlyArchive(folder)
        run_beside(app, QueryEndpoint(settings.query_url, settings.query_token, reader, thread))
    with registered(settings.home, "archive", urlsplit(settings.query_url).port):
        run_worker(app)
