"""Sends batches as they are, with an app's own login: what a hostile app's own producer would do."""

from types import TracebackType
from typing import Self

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import TopicPartition

from loadtest.hostile.batches import Batch
from schemas.topics import intake_topic
from stream.operate.platform.onboarding import app_principal
from stream.settings import Settings

TIMEOUT_MS = 60_000  # a quota delays an answer, by 30 s and more after a large batch


class Sender:
    """One connection of one app."""

    def __init__(self, settings: Settings, app: str) -> None:
        self._topic = intake_topic(app)
        self._client = AIOKafkaClient(
            **settings.kafka_client(app_principal(app)), request_timeout_ms=TIMEOUT_MS
        )

    async def __aenter__(self) -> Self:
        await self._client.bootstrap()
        self._client.add_topic(self._topic)
        await self._client.force_metadata_update()
        return self

    async def __aexit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def send(self, partition: int, batch: Batch) -> int | None:
        """The offset of the batch's first record; None if the broker did not take it."""
        node = self._client.cluster.leader_for_partition(TopicPartition(self._topic, partition))
        request = ProduceRequest(None, -1, TIMEOUT_MS, [(self._topic, [(partition, batch.data)])])
        try:
            [(_, [(_, error, offset, *_)])] = (await self._client.send(node, request)).topics
        except (KafkaConnectionError, RequestTimedOutError):
            return None  # what the broker did not foresee, it answers by hanging up
        return None if error else offset
