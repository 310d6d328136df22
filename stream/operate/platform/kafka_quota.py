"""Kafka's client quotas of a user: neither aiokafka nor librdkafka has a call that sets them.

The request is Kafka's AlterClientQuotas (KIP-546), version 0, sent by aiokafka's own admin client.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import DescribeClientQuotasRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Float64, Int16, Int32, Schema, String

_EXACT_MATCH = 0
_TEXT = String("utf-8")
_ENTITY = ("entity", Array(("entity_type", _TEXT), ("entity_name", _TEXT)))


class _AlterClientQuotasResponse(Response):
    API_KEY = 49
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("entries", Array(("error_code", Int16), ("error_message", _TEXT), _ENTITY)),
    )


class _AlterClientQuotas(RequestStruct):
    API_KEY = 49
    API_VERSION = 0
    RESPONSE_TYPE = _AlterClientQuotasResponse
    SCHEMA = Schema(
        ("entries", Array(_ENTITY, ("ops", Array(("key", _TEXT), ("value", Float64), ("remove", Boolean))))),
        ("validate_only", Boolean),
    )


class _AlterClientQuotasRequest(Request[_AlterClientQuotas]):
    API_KEY = 49

    def __init__(self, entries: list) -> None:
        self._entries = entries

    def build(self, request_struct_class: type[_AlterClientQuotas]) -> _AlterClientQuotas:
        return request_struct_class(self._entries, False)


class Quota(NamedTuple):
    """What one user may do on each broker; beyond it the broker delays answers, and refuses nothing.

    `request_percent`: of one thread of the broker.
    """

    produce_bytes_s: int
    consume_bytes_s: int
    request_percent: int


PRODUCE_QUOTA = "producer_byte_rate"
_KEYS = dict(zip(Quota._fields, (PRODUCE_QUOTA, "consumer_byte_rate", "request_percentage"), strict=True))


async def set_quota(client: dict, user: str, quota: Quota) -> None:
    """Sets a user's quota. `client`: arguments of an aiokafka client that may alter the cluster.

    Raises aiokafka's KafkaError if the broker cannot be reached, PermissionError if it refuses.
    """
    values = {_KEYS[name]: value for name, value in quota._asdict().items()}
    await _set(client, [("user", user)], values)


async def set_request_percent(client: dict, user: str, percent: int) -> None:
    """Sets how much of a thread a user may take, and leaves the rest of its quota. Raises as `set_quota`."""
    await _set(client, [("user", user)], {_KEYS["request_percent"]: percent})


async def set_connection_rate(client: dict, address: str | None, connections_s: int) -> None:
    """Sets how many connections an address may open; None: any that has no number of its own."""
    await _set(client, [("ip", address)], {"connection_creation_rate": connections_s})


async def quotas(client: dict, users: list[str]) -> dict[str, dict[str, float]]:
    """The quotas of users by Kafka's own names; a user without any is absent."""
    found = {}
    async with _admin(client) as admin:
        for user in users:
            request = DescribeClientQuotasRequest([("user", _EXACT_MATCH, user)], True)
            answer = await admin._send_request(request)
            if answer.error_code:
                raise PermissionError(f"error {answer.error_code}: {answer.error_message}")
            for _, values in answer.entries:
                found[user] = dict(values)
    return found


async def _set(client: dict, entity: list[tuple[str, str | None]], values: dict[str, float]) -> None:
    ops = [(key, float(value), False) for key, value in values.items()]
    async with _admin(client) as admin:
        answer = await admin._send_request(_AlterClientQuotasRequest([(entity, ops)]))
    for code, message, _ in answer.entries:
        if code:
            raise PermissionError(f"error {code}: {message}")


@asynccontextmanager
async def _admin(client: dict) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
