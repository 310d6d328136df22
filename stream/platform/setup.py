"""What a platform needs on its Kafka before an app can be registered: topics, users, rights, first blocks."""

import asyncio
from collections.abc import Callable

from schemas import topics
from schemas.block import BlockError, NewerFormat
from sinks.kafka_ledger import KafkaLedger
from sinks.kafka_topics import KafkaTopics
from sinks.ports import Doubt, LedgerGap
from stream.errors import OperatorError
from stream.platform import kafka_admin
from stream.platform.genesis import write_genesis
from stream.platform.kafka_admin import GROUP, LITERAL, PREFIXED, READ, TOPIC, WRITE, Grant
from stream.platform.onboarding import registry
from stream.projection import open_projection
from stream.settings import Settings

WORKERS = ("intake", "archive")
PRINCIPALS = ("admin", *WORKERS)
GRANTS = (
    Grant("intake", TOPIC, topics.INTAKE_PREFIX, PREFIXED, READ),
    Grant("intake", TOPIC, topics.COMMANDS, LITERAL, READ),
    Grant("intake", TOPIC, topics.LEDGER, LITERAL, READ),
    Grant("intake", TOPIC, topics.LEDGER, LITERAL, WRITE),
    Grant("intake", TOPIC, topics.OUTCOMES_PREFIX, PREFIXED, WRITE),
    Grant("intake", TOPIC, topics.DEAD_LETTERS, LITERAL, WRITE),
    Grant("intake", GROUP, "intake", PREFIXED, READ),
    Grant("intake", TOPIC, topics.CLOCK, LITERAL, WRITE),
    Grant("archive", TOPIC, topics.LEDGER, LITERAL, READ),
    Grant("archive", TOPIC, topics.CLOCK, LITERAL, WRITE),
    Grant("archive", GROUP, "archive", PREFIXED, READ),
)


def set_up_platform(settings: Settings, progress: Callable[[str], None], begun: bool = False) -> None:
    """Make users, rights, topics and first blocks as they must be; what is right already stays.

    `begun`: somebody remembers that all first blocks were written, so that an empty ledger is a loss. Returns
    once the broker lets the last worker log in and see its topics: then all the others can, too. Raises
    OperatorError if the broker refuses, if a topic has another number of partitions, or for such a loss.
    """
    progress("setting up topics, users and rights")
    kafka_admin.topics_seen_by(settings, "admin")  # or it says why not
    admin = kafka_admin.admin_client(settings)
    with kafka_admin.told_to_operator(settings):
        passwords = {user: settings.password(user) for user in WORKERS}
        kafka_admin.set_passwords(admin, settings.kafka_sasl_mechanism, passwords)
        kafka_admin.grant(admin, GRANTS)
        # An app whose topics are gone gets them again; a worker reads on after `points topics adopt`.
        apps = {*kafka_admin.apps_with_topics(admin), *registry(settings)}
        kafka_admin.make_topics(admin, topics.topic_specs(settings.shards, apps))
    kafka_admin.wait_visible(settings, WORKERS[-1], {topics.LEDGER, topics.CLOCK})
    asyncio.run(_write_genesis(settings, begun))


async def _write_genesis(settings: Settings, begun: bool) -> None:
    ledger = KafkaLedger(settings.kafka_client("admin"))
    topics_of_broker = KafkaTopics(settings.librdkafka("admin"))
    platform = settings.platform_id, settings.shards, settings.simulated_clock
    try:
        ids = await topics_of_broker.ids([topics.COMMANDS])
        async with open_projection(settings) as store:
            await write_genesis(ledger, store, *platform, ids[topics.COMMANDS], begun)
    except (Doubt, LedgerGap, BlockError, NewerFormat) as error:
        raise OperatorError(
            f"The ledger's first blocks could not be written: {error}.",
            "repeat `points up`; if it fails again, look into the broker's log (see `points status`).",
        ) from error
    finally:
        await ledger.close()
        await topics_of_broker.close()
