"""An app's rights taken from the broker at once, and given back: what `suspend --now` and `resume` do.

The broker looks at rights with each request, so an open connection is refused with its next one: the denial
goes before every grant. Without a credential there is no new connection; what stays open has 1 % of a thread.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aiokafka.errors import KafkaError as AiokafkaError
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    UserScramCredentialDeletion,
)

from stream.errors import OperatorError
from stream.operate.platform import kafka_admin, kafka_quota
from stream.operate.platform.kafka_admin import GROUP, LITERAL, SCRAM_MECHANISMS, TOPIC, settle
from stream.operate.platform.onboarding import QUOTA, app_principal
from stream.settings import Settings

# A broker that an app ends again and again is up for seconds between: each call is short, and is repeated.
PATIENCE_S = 120.0
CALL_TIMEOUT_S = 3.0
AGAIN_S = 0.1
LEFT_PERCENT = 1  # Kafka has no call that closes a connection


def shut_out(settings: Settings, app: str, progress: Callable[[str], None] = lambda _: None) -> None:
    """Takes all rights from an app; what it has acknowledged stays. May be repeated. Raises OperatorError."""
    _until_done(settings, progress, lambda: _deny(settings, app))


def let_in(settings: Settings, app: str) -> None:
    """Gives back what `shut_out` took but for the credential, which only a new password can replace."""
    admin = _admin(settings)  # a client that is let go takes its answers with it
    with kafka_admin.told_to_operator(settings):
        settle(admin.delete_acls([_filter(app_principal(app))], request_timeout=CALL_TIMEOUT_S))
        asyncio.run(_request_percent(settings, app, QUOTA.request_percent))


def are_shut_out(settings: Settings) -> set[str]:
    """The apps whose rights are denied now. Raises OperatorError."""
    admin = _admin(settings)
    with kafka_admin.told_to_operator(settings):
        found = admin.describe_acls(_filter(None), request_timeout=CALL_TIMEOUT_S).result()
    prefix = f"User:{app_principal('')}"
    return {acl.principal.removeprefix(prefix) for acl in found if acl.principal.startswith(prefix)}


def _deny(settings: Settings, app: str) -> None:
    admin, user = _admin(settings), app_principal(app)
    everything = [
        AclBinding(kind, "*", LITERAL, f"User:{user}", "*", AclOperation.ALL, AclPermissionType.DENY)
        for kind in (TOPIC, GROUP)
    ]
    settle(admin.create_acls(everything, request_timeout=CALL_TIMEOUT_S))
    credential = UserScramCredentialDeletion(user, SCRAM_MECHANISMS[settings.kafka_sasl_mechanism])
    gone = admin.alter_user_scram_credentials([credential], request_timeout=CALL_TIMEOUT_S)
    settle(gone, already=KafkaError.RESOURCE_NOT_FOUND)
    asyncio.run(_request_percent(settings, app, LEFT_PERCENT))


def _until_done(settings: Settings, progress: Callable[[str], None], work: Callable[[], None]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return work()
        except (KafkaException, AiokafkaError, OSError) as error:
            if time.monotonic() > deadline_s:
                raise OperatorError(
                    f"Kafka at {settings.kafka_bootstrap} did not stay up for long enough: {error}.",
                    "see `points status`; end the program that ends Kafka if it runs here, then repeat this.",
                ) from error
            progress(f"Kafka does not answer; trying again ({error})")
            time.sleep(AGAIN_S)


def _admin(settings: Settings) -> AdminClient:
    return kafka_admin.admin_client(settings)


def _filter(user: str | None) -> AclBindingFilter:
    principal = user and f"User:{user}"
    anything: Any = None  # as the filter's own documentation has it; its types ask for texts
    return AclBindingFilter(
        ResourceType.ANY, anything, ResourcePatternType.ANY, principal or anything, anything,
        AclOperation.ANY, AclPermissionType.DENY,
    )  # fmt: skip


async def _request_percent(settings: Settings, app: str, percent: int) -> None:
    client = settings.kafka_client("admin") | {"request_timeout_ms": int(CALL_TIMEOUT_S * 1_000)}
    await kafka_quota.set_request_percent(client, app_principal(app), percent)
