"""What a platform needs on its Kafka before an app can be registered: topics, users, rights, first blocks."""

import asyncio
from collections.abc import Callable, Container, Iterable

from schemas import topics
from schemas.block import BlockError, NewerFormat
from sinks.kafka_ledger import KafkaLedger
from sinks.kafka_topics import KafkaTopics
from sinks.ports import Doubt, LedgerGap
from stream.errors import OperatorError
from stream.operate.platform import kafka_admin, kafka_quota
from stream.operate.platform.genesis import write_genesis
from stream.operate.platform.kafka_admin import GROUP, LITERAL, PREFIXED, READ, TOPIC, WRITE, Grant
from stream.operate.platform.onboarding import quota_errors, registry
from stream.operate.projection import open_projection
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
# By address, None for all others. A limit of the listener would make all wait for whoever connects too often.
CONNECTIONS_S_MAX = {None: 20, "127.0.0.1": 500}


def set_up_platform(
    settings: Settings,
    progress: Callable[[str], None],
    note: Callable[[str], None] = lambda _: None,
    begun: bool = False,
) -> None:
    """Make users, rights, topics and first blocks as they must be; what is right already stays.

    `note` is told what an operator should know of: topics of registered apps that were missing. `begun`:
    somebody remembers that all first blocks were written, so that an empty ledger is a loss. Returns once the
    broker lets the last worker log in and see its topics: then all the others can, too. Raises OperatorError
    if the broker refuses, if a topic has too few partitions, or for such a loss.
    """
    progress("setting up topics, users and rights")
    kafka_admin.topics_seen_by(settings, "admin")  # or it says why not
    admin = kafka_admin.admin_client(settings)
    with kafka_admin.told_to_operator(settings):
        passwords = {user: settings.password(user) for user in WORKERS}
        kafka_admin.set_passwords(admin, settings.kafka_sasl_mechanism, passwords)
        kafka_admin.grant(admin, GRANTS)
        with_topics = kafka_admin.apps_with_topics(admin)
        apps = sorted({*with_topics, *_registered(settings, note)})
        existing = admin.list_topics(timeout=kafka_admin.REQUEST_TIMEOUT_S).topics
        kafka_admin.make_topics(admin, topics.topic_specs(settings.shards, apps))
    for app in apps:
        _tell_made_again(app, existing, note)
    kafka_admin.wait_visible(settings, WORKERS[-1], {topics.LEDGER, topics.CLOCK})
    asyncio.run(_write_genesis(settings, begun))
    if settings.embedded:
        with quota_errors(settings):
            asyncio.run(_limit_connection_rates(settings))


async def _limit_connection_rates(settings: Settings) -> None:
    for address, connections_s in CONNECTIONS_S_MAX.items():
        await kafka_quota.set_connection_rate(settings.kafka_client("admin"), address, connections_s)


def _registered(settings: Settings, note: Callable[[str], None]) -> Iterable[str]:
    try:
        return registry(settings)
    except OperatorError as error:
        note(f"whether topics of registered apps are missing was not looked at: {error.message}")
        return ()


def _tell_made_again(app: str, existing: Container[str], note: Callable[[str], None]) -> None:
    intake, outcomes = topics.intake_topic(app), topics.outcomes_topic(app)
    if intake not in existing:
        note(
            f"{intake} was missing and is made again, empty; what it held and was not decided is lost. "
            f"No worker reads it before `points topics adopt {intake}`; the other apps go on."
        )
    if outcomes not in existing:
        note(f"{outcomes} was missing and is made again; older outcomes are in the archive only.")


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
