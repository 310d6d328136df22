"""What a platform needs on its Kafka before a record can flow: topics, users, and who may do what."""

import asyncio
import time
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from schemas import topics
from schemas.block import BlockError
from schemas.rules import RulesError, load_rules
from sinks.kafka_ledger import KafkaLedger
from sinks.ports import Doubt
from stream.errors import OperatorError
from stream.genesis import write_genesis
from stream.settings import Settings

WORKERS = ("intake", "archive")
REQUEST_TIMEOUT_S = 30.0
VISIBLE_TIMEOUT_S = 20.0
SCRAM_ITERATIONS = 4096  # the passwords are random and long: more iterations only slow log-ins down
SCRAM_MECHANISMS = {
    "SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256,
    "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512,
}

TOPIC, GROUP = ResourceType.TOPIC, ResourceType.GROUP
LITERAL, PREFIXED = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
# Each of them lets its holder describe the resource, too; WRITE includes the right to write idempotently.
READ, WRITE = AclOperation.READ, AclOperation.WRITE


def app_principal(app: str) -> str:
    """The Kafka user of a registered app."""
    return f"app-{app}"


def registered_apps() -> list[str]:
    """The ids of the apps that the rules register. Raises OperatorError if the rules cannot be loaded."""
    try:
        return list(load_rules().apps)
    except RulesError as error:
        raise OperatorError(f"The rules cannot be loaded: {error}.", "correct that file.") from error


def principals(apps: Iterable[str]) -> list[str]:
    """All Kafka users of a platform with these apps, `admin` first."""
    return ["admin", *WORKERS, *(app_principal(app) for app in apps)]


def set_up_platform(settings: Settings, apps: Iterable[str], progress: Callable[[str], None]) -> None:
    """Make users, rights and topics as they must be; what is right already stays.

    Returns once the broker lets the last app log in and see its topic: then all the others can, too.
    Raises OperatorError if the broker refuses, or if a topic has another number of partitions.
    """
    apps = sorted(apps)
    progress(f"setting up topics, users and rights for {len(apps)} apps")
    admin = AdminClient({**settings.librdkafka("admin"), "log_level": 0})
    try:
        _set_passwords(admin, settings, apps)
        _grant(admin, apps)
        _make_topics(admin, topics.topic_specs(settings.shards, apps))
    except KafkaException as error:
        raise OperatorError(
            f"Kafka at {settings.kafka_bootstrap} refused the set-up: {error.args[0].str()}.",
            "check with `points doctor` that it runs and that `admin` may alter the cluster.",
        ) from error
    for app in apps[-1:]:
        _wait_visible(settings, app)
    asyncio.run(_write_genesis(settings))


async def _write_genesis(settings: Settings) -> None:
    ledger = KafkaLedger(settings.kafka_client("admin"))
    try:
        await write_genesis(ledger, settings.platform_id, settings.shards, settings.simulated_clock)
    except (Doubt, BlockError) as error:
        raise OperatorError(
            f"The ledger's first blocks could not be written: {error}.",
            "repeat `points up`; if it fails again, look into the broker's log (see `points status`).",
        ) from error
    finally:
        await ledger.close()


def grants(apps: Iterable[str]) -> list[tuple[str, ResourceType, str, ResourcePatternType, AclOperation]]:
    """(principal, resource type, name, pattern, operation) of every right; nobody has any other.

    An app's groups are `app-<id>` and `app-<id>.…`: a bare prefix would give the app `bus` those of `bus-2`.
    """
    granted = [
        ("intake", TOPIC, topics.INTAKE_PREFIX, PREFIXED, READ),
        ("intake", TOPIC, topics.COMMANDS, LITERAL, READ),
        ("intake", TOPIC, topics.LEDGER, LITERAL, READ),
        ("intake", TOPIC, topics.LEDGER, LITERAL, WRITE),
        ("intake", TOPIC, topics.OUTCOMES_PREFIX, PREFIXED, WRITE),
        ("intake", TOPIC, topics.DEAD_LETTERS, LITERAL, WRITE),
        ("intake", GROUP, "intake", PREFIXED, READ),
        ("archive", TOPIC, topics.LEDGER, LITERAL, READ),
        ("archive", GROUP, "archive", PREFIXED, READ),
    ]
    for app in apps:
        user = app_principal(app)
        granted += [
            (user, TOPIC, topics.intake_topic(app), LITERAL, WRITE),
            (user, TOPIC, topics.outcomes_topic(app), LITERAL, READ),
            (user, GROUP, user, LITERAL, READ),
            (user, GROUP, f"{user}.", PREFIXED, READ),
        ]
    return granted


def topic_differences(admin: AdminClient, specs: Iterable[topics.TopicSpec]) -> list[str]:
    """How the broker's topics differ from what they must be, one sentence each; empty if they do not."""
    wanted = {spec.name: spec for spec in specs}
    existing = admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
    found = [f"{name} is missing" for name in wanted if name not in existing]
    present = {name: spec for name, spec in wanted.items() if name in existing}
    for name, spec in present.items():
        if len(existing[name].partitions) != spec.partitions:
            found.append(f"{name} has {len(existing[name].partitions)} partitions, not {spec.partitions}")
    for name, entries in _topic_configs(admin, present).items():
        found += [
            f"{name} has {key}={entries[key]}, not {value}"
            for key, value in present[name].config.items()
            if entries.get(key) != value
        ]
    return found


def _set_passwords(admin: AdminClient, settings: Settings, apps: list[str]) -> None:
    scram = ScramCredentialInfo(SCRAM_MECHANISMS[settings.kafka_sasl_mechanism], SCRAM_ITERATIONS)
    users = [user for user in principals(apps) if user != "admin"]
    upsertions = [
        UserScramCredentialUpsertion(user, scram, settings.password(user).encode()) for user in users
    ]
    _settle(admin.alter_user_scram_credentials(upsertions, request_timeout=REQUEST_TIMEOUT_S))


def _grant(admin: AdminClient, apps: list[str]) -> None:
    bindings = [
        AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
        for user, kind, name, pattern, operation in grants(apps)
    ]
    _settle(admin.create_acls(bindings, request_timeout=REQUEST_TIMEOUT_S))


def _make_topics(admin: AdminClient, specs: list[topics.TopicSpec]) -> None:
    existing = admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
    for spec in specs:
        if spec.name in existing and len(existing[spec.name].partitions) != spec.partitions:
            raise OperatorError(
                f"Topic {spec.name} has {len(existing[spec.name].partitions)} partitions, "
                f"not {spec.partitions}, and their number is fixed for life.",
                "set POINTS_SHARDS to the number it has, or use a Kafka without this topic.",
            )
    missing = [spec for spec in specs if spec.name not in existing]
    if missing:
        _settle(
            admin.create_topics(
                [NewTopic(spec.name, num_partitions=spec.partitions, config=spec.config) for spec in missing],
                operation_timeout=REQUEST_TIMEOUT_S,
            )
        )
    present = {spec.name: spec for spec in specs if spec.name in existing}
    changes = []
    for name, entries in _topic_configs(admin, present).items():
        wrong = {key: value for key, value in present[name].config.items() if entries.get(key) != value}
        if wrong:
            entries = [
                ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                for key, value in wrong.items()
            ]
            changes.append(ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries))
    if changes:
        _settle(admin.incremental_alter_configs(changes, request_timeout=REQUEST_TIMEOUT_S))


def _topic_configs(admin: AdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    answers = admin.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_S)
    return {
        resource.name: {key: entry.value for key, entry in answer.result().items()}
        for resource, answer in answers.items()
    }


def _settle(answers: dict) -> None:
    """Wait for all answers; another `points up` at the same time may have made a topic first."""
    for answer in answers.values():
        try:
            answer.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def _wait_visible(settings: Settings, app: str) -> None:
    """Users, rights and topics reach the broker a moment after the controller promised them."""
    deadline_s = time.monotonic() + VISIBLE_TIMEOUT_S
    client = AdminClient({**settings.librdkafka(app_principal(app)), "log_level": 0})
    while time.monotonic() < deadline_s:
        try:
            seen = client.list_topics(timeout=2).topics
        except KafkaException:
            continue
        if topics.intake_topic(app) in seen and topics.outcomes_topic(app) in seen:
            return
        time.sleep(0.05)
    raise OperatorError(
        f"{app_principal(app)} cannot log in and see its topics within {VISIBLE_TIMEOUT_S:.0f} s.",
        "run `points up` again; on a real Kafka, check that its listener offers "
        f"{settings.kafka_sasl_mechanism} and that the authorizer is on.",
    )
