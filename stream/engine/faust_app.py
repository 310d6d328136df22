"""Wiring of a Faust worker: one app, one agent over all topics, one handler."""

from typing import Protocol

import faust
from faust.types.auth import SASLMechanism

from schemas.block import RELEASE
from sinks.fingerprint import FINGERPRINT
from stream.engine.assignor import ShardAssignor
from stream.engine.transport import BatchSchema, BatchTransport, Handler
from stream.errors import end_process
from stream.settings import CLIENT_ID_PREFIX, Settings

METADATA_MAX_AGE_MS = 10_000  # how long a topic that was missing, or has a partition more, may go unnoticed


class BatchApp(faust.App):
    """A Faust app whose consumer delivers to `batch_handler`."""

    batch_handler: Handler


def batch_app(settings: Settings, group: str, topics: list[str], handler: Handler) -> BatchApp:
    """A Faust app that feeds all of `topics` to `handler`; `group`: its consumer group and Kafka user."""
    app = BatchApp(
        group,
        broker=f"kafka://{settings.kafka_bootstrap}",
        broker_credentials=_credentials(settings, group),
        broker_client_id=f"{CLIENT_ID_PREFIX}{RELEASE}-{FINGERPRINT}",
        broker_check_crcs=True,
        broker_max_poll_records=None,  # whole fetches
        broker_commit_interval=1.0,
        broker_session_timeout=10.0,  # a killed worker's shards are taken over after this
        broker_heartbeat_interval=2.0,
        broker_request_timeout=30.0,
        consumer_max_fetch_size=4 << 20,
        consumer_metadata_max_age_ms=METADATA_MAX_AGE_MS,
        consumer_auto_offset_reset="earliest",  # never used: partitions are placed by the handler
        cython_optimizations=True,
        PartitionAssignor=ShardAssignor,
        datadir=settings.home / "run" / f"faust-{group}",
        key_serializer="raw",
        value_serializer="raw",
        stream_buffer_maxsize=64,
        stream_wait_empty=False,  # positions are the handler's; there is nothing to wait for
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.shards,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    app.batch_handler = handler
    app.transport = BatchTransport(app.conf.broker_consumer, app)
    source = app.topic(*topics, schema=BatchSchema(), key_type=bytes, value_type=bytes)

    @app.agent(source, name=f"{group}-agent")  # type: ignore[arg-type]  # it hands over a Stream
    async def deliver(stream: faust.Stream) -> None:
        async for batch in stream:
            try:
                handler.take(batch)
            except Exception as error:  # an agent that raises is restarted by Faust, without its batch
                end_process(error)

    @app.on_before_shutdown.connect
    async def stop(*_: object, **__: object) -> None:
        await handler.stop()

    return app


class Startable(Protocol):
    """Something that lives as long as a worker."""

    async def start(self) -> None:
        """Begins."""

    async def stop(self) -> None:
        """Ends."""


def run_beside(app: faust.App, other: Startable) -> None:
    """Starts `other` with the worker and stops it with it; if it cannot start, the worker does not either."""

    @app.service
    class Beside(faust.Service):
        async def on_start(self) -> None:
            await other.start()

        async def on_stop(self) -> None:
            await other.stop()


def _credentials(settings: Settings, principal: str) -> faust.SASLCredentials:
    client = settings.kafka_client(principal)
    return faust.SASLCredentials(
        username=client["sasl_plain_username"],
        password=client["sasl_plain_password"],
        mechanism=SASLMechanism(client["sasl_mechanism"]),
        ssl_context=client.get("ssl_context"),
    )
