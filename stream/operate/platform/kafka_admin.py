"""What a platform changes on its Kafka as `admin`: users, rights, topics. Each call may be repeated."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

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
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from schemas import topics
from stream.errors import OperatorError
from stream.settings import Settings

REQUEST_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 10.0
VISIBLE_TIMEOUT_S = 20.0
SCRAM_ITERATIONS = 4096  # the passwords are random and long: more iterations only slow log-ins down
SCRAM_MECHANISMS = {
    "SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256,
    "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512,
}
_NO_ANSWER = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)
TOPIC, GROUP = ResourceType.TOPIC, ResourceType.GROUP
LITERAL, PREFIXED = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
# Each of them lets its holder describe the resource, too; WRITE includes the right to write idempotently.
READ, WRITE = AclOperation.READ, AclOperation.WRITE


class Grant(NamedTuple):
    """One right of one user; nobody has any that is not granted."""

    user: str
    kind: ResourceType
    name: str
    pattern: ResourcePatternType
    operation: AclOperation


def admin_client(settings: Settings, principal: str = "admin") -> AdminClient:
    """An admin client that logs in as `principal`."""
    return AdminClient({**settings.librdkafka(principal), "log_level": 0})


def topics_seen_by(settings: Settings, principal: str) -> set[str]:
    """The names of the topics that `principal` may see. Raises OperatorError if Kafka does not let it in."""
    errors: list[KafkaError] = []
    config: dict[str, Any] = {**settings.librdkafka(principal), "log_level": 0, "error_cb": errors.append}
    client = AdminClient(config)
    try:
        return set(client.list_topics(timeout=ANSWER_TIMEOUT_S).topics)
    except KafkaException as error:
        client.poll(0)  # brings the errors of its connections: they know more than that no answer came
        refused = [found for found in errors if found.code() == KafkaError._AUTHENTICATION]
        raise _told(settings, principal, (refused or error.args)[0]) from error


@contextmanager
def told_to_operator(settings: Settings) -> Iterator[None]:
    """What the broker refuses to the admin, or does not answer, becomes an OperatorError."""
    try:
        yield
    except KafkaException as error:
        raise _told(settings, "admin", error.args[0]) from error


def _told(settings: Settings, principal: str, error: KafkaError) -> OperatorError:
    kafka = f"Kafka at {settings.kafka_bootstrap}"
    if error.code() == KafkaError._AUTHENTICATION:
        remedy = "run `points up`, which sets it." if settings.embedded else "correct it."
        return OperatorError(f"{kafka} does not take the password of {principal}: {error.str()}.", remedy)
    if error.code() in _NO_ANSWER:
        remedy = "run `points up`." if settings.embedded else "check address, certificate and network."
        return OperatorError(f"{kafka} does not answer: {error.str()}.", f"{remedy} `points doctor` looks.")
    return OperatorError(
        f"{kafka} refused what {principal} asked: {error.str()}.",
        "check with `points doctor` that it runs and that `admin` may alter the cluster.",
    )


def set_passwords(admin: AdminClient, mechanism: str, passwords: dict[str, str]) -> None:
    """Makes users, or gives them another password: the one before is void for new connections."""
    scram = ScramCredentialInfo(SCRAM_MECHANISMS[mechanism], SCRAM_ITERATIONS)
    upsertions: list[UserScramCredentialAlteration] = [
        UserScramCredentialUpsertion(user, scram, password.encode()) for user, password in passwords.items()
    ]
    settle(admin.alter_user_scram_credentials(upsertions, request_timeout=REQUEST_TIMEOUT_S))


def grant(admin: AdminClient, grants: Iterable[Grant]) -> None:
    """Gives rights; those that there are already stay."""
    bindings = [
        AclBinding(g.kind, g.name, g.pattern, f"User:{g.user}", "*", g.operation, AclPermissionType.ALLOW)
        for g in grants
    ]
    settle(admin.create_acls(bindings, request_timeout=REQUEST_TIMEOUT_S))


def apps_with_topics(admin: AdminClient) -> list[str]:
    """The apps that have an intake topic, whether registered or not."""
    names = admin.list_topics(timeout=ANSWER_TIMEOUT_S).topics
    return sorted(filter(None, map(topics.app_of, names)))


class Difference(NamedTuple):
    """How one topic differs from what it must be; what is surplus stops nobody."""

    topic: str
    text: str
    surplus: bool = False


def topic_differences(admin: AdminClient, specs: Iterable[topics.TopicSpec]) -> list[Difference]:
    """How the broker's topics differ from what they must be; empty if they do not."""
    wanted = {spec.name: spec for spec in specs}
    existing = admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
    found = [Difference(name, f"{name} is missing") for name in wanted if name not in existing]
    present = {name: spec for name, spec in wanted.items() if name in existing}
    for name, spec in present.items():
        if (partitions := len(existing[name].partitions)) != spec.partitions:
            found.append(_other_partitions(name, partitions, spec.partitions))
    for name, entries in _topic_configs(admin, present).items():
        found += [
            Difference(name, f"{name} has {key}={entries[key]}, not {value}")
            for key, value in present[name].config.items()
            if entries.get(key) != value
        ]
    return found


def _other_partitions(name: str, found: int, wanted: int) -> Difference:
    text = f"{name} has {found} partitions, not {wanted}"
    if found < wanted:
        return Difference(name, text)
    numbers = str(wanted) if found == wanted + 1 else f"{wanted} to {found - 1}"
    text += f": what lies in {numbers} is not read and gets no outcome"
    if topics.app_of(name):
        text += ", and a client that counts them sends most persons' records to a wrong partition (misrouted)"
    return Difference(name, text, surplus=True)


def _is_wrong(spec: topics.TopicSpec, partitions: int) -> bool:
    """A partition too many stops nobody, but one of the ledger's: these are another platform's settings."""
    return partitions < spec.partitions or (spec.name == topics.LEDGER and partitions > spec.partitions)


def make_topics(admin: AdminClient, specs: list[topics.TopicSpec]) -> None:
    """Makes and corrects topics. Raises OperatorError if one has too few partitions."""
    existing = admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
    for spec in specs:
        if spec.name in existing and _is_wrong(spec, len(existing[spec.name].partitions)):
            raise OperatorError(
                f"Topic {spec.name} has {len(existing[spec.name].partitions)} partitions, "
                f"not {spec.partitions}, and their number is fixed for life.",
                "set POINTS_SHARDS to the number it has, or use a Kafka without this topic.",
            )
    missing = [spec for spec in specs if spec.name not in existing]
    if missing:
        made = admin.create_topics(
            [NewTopic(spec.name, num_partitions=spec.partitions, config=spec.config) for spec in missing],
            operation_timeout=REQUEST_TIMEOUT_S,
        )
        settle(made, already=KafkaError.TOPIC_ALREADY_EXISTS)  # by another `points up` at the same time
    present = {spec.name: spec for spec in specs if spec.name in existing}
    changes = []
    for name, entries in _topic_configs(admin, present).items():
        wrong = {key: value for key, value in present[name].config.items() if entries.get(key) != value}
        if wrong:
            right = [
                ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                for key, value in wrong.items()
            ]
            changes.append(ConfigResource(ResourceType.TOPIC, name, incremental_configs=right))
    if changes:
        settle(admin.incremental_alter_configs(changes, request_timeout=REQUEST_TIMEOUT_S))


def _topic_configs(admin: AdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    answers = admin.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_S)
    return {
        resource.name: {key: entry.value for key, entry in answer.result().items()}
        for resource, answer in answers.items()
    }


def settle(answers: dict, already: int | None = None) -> None:
    """Waits for all answers. `already`: the error that says it was so before, which is what was wanted."""
    for answer in answers.values():
        try:
            answer.result()
        except KafkaException as error:
            if error.args[0].code() != already:
                raise


def wait_visible(settings: Settings, principal: str, names: set[str]) -> None:
    """Users, rights and topics reach the broker a moment after the controller promised them."""
    deadline_s = time.monotonic() + VISIBLE_TIMEOUT_S
    client = admin_client(settings, principal)
    while time.monotonic() < deadline_s:
        try:
            if names <= client.list_topics(timeout=2).topics.keys():
                return
        except KafkaException:
            continue
        time.sleep(0.05)
    raise OperatorError(
        f"{principal} cannot log in and see its topics within {VISIBLE_TIMEOUT_S:.0f} s.",
        "run the command again; on a real Kafka, check that its listener offers "
        f"{settings.kafka_sasl_mechanism} and that the authorizer is on.",
    )
