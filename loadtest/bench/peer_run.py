"""The plain agent's turn: its own user, rights and topic on the same stack; the same records; its balances
compared with the known totals."""

import json
from collections.abc import Callable
from typing import NamedTuple

import redis
from confluent_kafka.admin import (
    NewTopic,
)

from loadtest.bench.peer import BALANCES, GROUP, PRINCIPAL, TOPIC, redis_url
from loadtest.bench.preload import preload
from loadtest.bench.processes import Workers
from loadtest.bench.reports import APPS, Load
from stream import stack_file
from stream.operate.platform import kafka_admin
from stream.operate.platform.kafka_admin import GROUP as GROUP_KIND
from stream.operate.platform.kafka_admin import LITERAL, READ, REQUEST_TIMEOUT_S, Grant
from stream.operate.platform.kafka_admin import TOPIC as TOPIC_KIND
from stream.settings import PASSWORD_PREFIX, Settings
from stream.stack_file import REDIS_ADMIN, new_secret

TIMEOUT_S = 120.0


class PeerRun(NamedTuple):
    """What the plain agent took from its first record to its last, and what is wrong with its balances."""

    seconds: float
    cpu_s: float
    differences: list[str]


def run_peer(settings: Settings, workers: Workers, load: Load, on_sent: Callable[[int], None]) -> PeerRun:
    """Sends the load to the plain agent's topic, then lets the agent take it. Raises OperatorError."""
    password = new_secret()
    _set_up(settings, password)
    preload(settings.librdkafka, load.records(), dict.fromkeys(APPS, ("admin", TOPIC)), on_sent)
    variable = PASSWORD_PREFIX + PRINCIPAL.upper().replace("-", "_")
    workers.start("peer", "loadtest.bench.peer", str(len(load)), **{variable: password})
    said = json.loads(workers.last_words("peer", TIMEOUT_S))
    differences = _differences(settings.with_password(PRINCIPAL, password), load)
    return PeerRun(said["seconds"], said["cpu_s"], differences)


def _set_up(settings: Settings, password: str) -> None:
    admin = kafka_admin.admin_client(settings)
    kafka_admin.set_passwords(admin, settings.kafka_sasl_mechanism, {PRINCIPAL: password})
    kinds = ((TOPIC_KIND, TOPIC), (GROUP_KIND, GROUP))
    kafka_admin.grant(admin, [Grant(PRINCIPAL, kind, name, LITERAL, READ) for kind, name in kinds])
    answers = admin.create_topics(
        [NewTopic(TOPIC, num_partitions=settings.shards)], operation_timeout=REQUEST_TIMEOUT_S
    )
    for future in answers.values():
        future.result()
    stack = stack_file.read(settings.home)
    assert stack, "the bench has brought it up"
    url = stack_file.redis_url(settings.home, stack, REDIS_ADMIN, stack.redis_admin_password)
    with redis.Redis.from_url(url) as client:
        client.acl_setuser(
            PRINCIPAL,
            enabled=True,
            passwords=[f"+{password}"],
            keys=[f"{PRINCIPAL}:*"],
            commands=["+set", "+hincrby", "+hgetall", "+evalsha", "+script|load"],
        )


def _differences(settings: Settings, load: Load) -> list[str]:
    with redis.Redis.from_url(redis_url(settings), socket_timeout=30) as client:
        balances = {uid.decode(): int(milli) for uid, milli in client.hgetall(BALANCES).items()}
    expected = load.totals().balances_milli
    if balances == expected:
        return []
    had, must = sum(balances.values()), sum(expected.values())
    return [f"the plain agent has {had}/1000 points in all, but must have {must}/1000"]
