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
    from stream.recovery import Expected
    from stream.settings import load

    settings = load()
    client = settings.kafka_client("intake")
    expected = Expected(settings.platform_id, settings.shards, load_rules())
    store = RedisStore(connect(settings.redis_url))
    handler = Intake(expected, store, KafkaLedger(client), KafkaPublisher(client))
    with registered(settings.home, "intake"):
        run_worker(batch_app(settings, "intake", "intake", handler.topics, handler))
