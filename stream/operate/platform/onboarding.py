"""An app's way onto the platform and off it: topics, user, rights and quota on Kafka, then one command.

The registry itself is in the ledger: a command to every shard, in force from its own row on. Kafka's part
comes first, so that a registered app can write. Credentials are made here, returned, and kept nowhere.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from aiokafka.errors import KafkaError
from confluent_kafka import ConsumerGroupState, KafkaException

from schemas import topics
from schemas.kinds.app import App, AppCommand
from sinks.kafka_topics import topic_ids
from stream.errors import OperatorError
from stream.operate.platform import kafka_admin, kafka_quota
from stream.operate.platform.commands import say
from stream.operate.platform.kafka_admin import (
    GROUP,
    LITERAL,
    PREFIXED,
    READ,
    REQUEST_TIMEOUT_S,
    TOPIC,
    WRITE,
    Grant,
)
from stream.operate.platform.kafka_quota import Quota
from stream.operate.projection import open_projection
from stream.settings import Settings
from stream.stack_file import new_secret

# Of 16 million reports a day, some 350 bytes each, an app of forty sends 5 a second: room for 75 times that,
# uncompressed, and for 600 times in batches by zstd. `points flood` measures what it keeps from the others:
# twice as much let bursts through in which another app's p99 was 0.6 s, on 2 cores.
QUOTA = Quota(produce_bytes_s=128 << 10, consume_bytes_s=512 << 10, request_percent=50)
IN_FORCE_TIMEOUT_S = 60.0
IN_FORCE_POLL_S = 0.2

Registry = dict[str, dict[int, App]]


def quota_of(produce_kib_s: int) -> Quota:
    """The quota of an app that may write so many KiB/s."""
    return QUOTA._replace(produce_bytes_s=produce_kib_s << 10, consume_bytes_s=produce_kib_s << 12)


def app_principal(app: str) -> str:
    """The Kafka user of a registered app."""
    return f"app-{app}"


def grants(app: str) -> list[Grant]:
    """Every right of an app.

    Its groups are `app-<id>` and `app-<id>.…`: a bare prefix would give the app `bus` those of `bus-2`.
    """
    user = app_principal(app)
    return [
        Grant(user, TOPIC, topics.intake_topic(app), LITERAL, WRITE),
        Grant(user, TOPIC, topics.outcomes_topic(app), LITERAL, READ),
        Grant(user, GROUP, user, LITERAL, READ),
        Grant(user, GROUP, f"{user}.", PREFIXED, READ),
    ]


def onboard(
    settings: Settings, app: App, quota: Quota = QUOTA, progress: Callable[[str], None] = lambda _: None
) -> Settings:
    """Makes an app's topics, user, rights and quota, and registers it; all of it may be repeated.

    Returns the settings with the app's new password, which is kept nowhere else. Raises OperatorError.
    """
    progress(f"making topics, user and rights of {app.id}")
    admin = kafka_admin.admin_client(settings)
    with kafka_admin.told_to_operator(settings):
        kafka_admin.make_topics(admin, topics.app_topic_specs(settings.shards, app.id))
        kafka_admin.grant(admin, grants(app.id))
    settings = rotate(settings, app.id)
    set_quota(settings, app.id, quota)
    names = {topics.intake_topic(app.id), topics.outcomes_topic(app.id)}
    kafka_admin.wait_visible(settings, app_principal(app.id), names)
    register(settings, app)
    return settings


def rotate(settings: Settings, app: str) -> Settings:
    """Gives an app a new password; the one before opens no new connection. Returns settings that hold it."""
    user, password = app_principal(app), new_secret()
    with kafka_admin.told_to_operator(settings):
        admin = kafka_admin.admin_client(settings)
        kafka_admin.set_passwords(admin, settings.kafka_sasl_mechanism, {user: password})
    return settings.with_password(user, password)


def set_quota(settings: Settings, app: str, quota: Quota) -> None:
    """What the app may do on each broker from now on. Raises OperatorError."""
    with quota_errors(settings):
        asyncio.run(kafka_quota.set_quota(settings.kafka_client("admin"), app_principal(app), quota))


def register(settings: Settings, app: App) -> None:
    """Says to every shard what the app is from now on; returns once the broker has it.

    An app that was never registered is given the id of its intake topic as it is now.
    """
    if not app.topic_id:
        topic = topics.intake_topic(app.id)
        with kafka_admin.told_to_operator(settings):
            ids = topic_ids(kafka_admin.admin_client(settings), [topic])
        app = msgspec.structs.replace(app, topic_id=ids[topic])
    say(settings, dict.fromkeys(range(settings.shards), AppCommand(app=app)))


def registry(settings: Settings) -> Registry:
    """Every registered app as each shard knows it, from the projection. Raises OperatorError."""
    return asyncio.run(_registry(settings))


def shards_without(settings: Settings, app: App) -> list[int]:
    """The shards in which an app is not yet registered exactly so."""
    known = registry(settings).get(app.id, {})
    return [shard for shard in range(settings.shards) if not _is(known.get(shard), app)]


def _is(known: App | None, app: App) -> bool:
    """Whether a shard knows the app so; its topic's id is the shard's own, where `app` does not tell one."""
    return known is not None and known == msgspec.structs.replace(
        app, topic_id=app.topic_id or known.topic_id
    )


def wait_in_force(settings: Settings, app: App) -> list[int]:
    """Waits until every shard knows the app so; returns at once if no intake worker runs to take it in.

    Returns the shards that do not know it yet.
    """
    deadline_s = time.monotonic() + IN_FORCE_TIMEOUT_S
    while (behind := shards_without(settings, app)) and time.monotonic() < deadline_s:
        if not intake_runs(settings):
            break
        time.sleep(IN_FORCE_POLL_S)
    return behind


def known_app(settings: Settings, app: str, **changes: object) -> App:
    """A registered app, with fields changed. Raises OperatorError if there is none of this id."""
    known = registry(settings).get(app)
    if not known:
        raise OperatorError(f"There is no app {app}.", "`points app list` shows those that there are.")
    return msgspec.structs.replace(known[min(known)], **changes)


async def _registry(settings: Settings) -> Registry:
    found: Registry = {}
    async with open_projection(settings) as store:
        for shard in range(settings.shards):
            head = await store.load_head(shard)
            for app in head.apps.values() if head else ():
                found.setdefault(app.id, {})[shard] = app
    return found


def intake_runs(settings: Settings) -> bool:
    with kafka_admin.told_to_operator(settings):
        admin = kafka_admin.admin_client(settings)  # a client that is let go takes its answers with it
        [answer] = admin.describe_consumer_groups(["intake"], request_timeout=REQUEST_TIMEOUT_S).values()
        try:
            return answer.result().state not in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)
        except KafkaException:
            return False  # no worker was ever started


@contextmanager
def quota_errors(settings: Settings) -> Iterator[None]:
    """What the broker refuses becomes an OperatorError."""
    try:
        yield
    except (KafkaError, PermissionError, OSError) as error:
        raise OperatorError(
            f"Kafka at {settings.kafka_bootstrap} does not let its quotas be seen or set: {error}.",
            "see that it runs and that `admin` may alter its configuration, then repeat the command.",
        ) from error
