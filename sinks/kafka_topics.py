"""The ids of topics, as the broker says them now."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from sinks.ports import Doubt

ANSWER_TIMEOUT_S = 10.0


class KafkaTopics:
    """`Topics` over Kafka. `client`: librdkafka's settings of a user who may describe the topics.

    Questions that arise while one is under way are asked together in the next: an answer to a question that
    was asked before is no proof.
    """

    def __init__(self, client: dict) -> None:
        self._admin = AdminClient({**client, "log_level": 0})
        self._thread = ThreadPoolExecutor(1, "topics")  # librdkafka may block for a moment at the first call
        self._wanted: set[str] = set()
        self._next: asyncio.Future | None = None
        self._running: asyncio.Task | None = None

    async def ids(self, topics: list[str]) -> dict[str, str]:
        if not topics:
            return {}
        self._wanted.update(topics)
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        answer = self._next
        if self._running is None:
            self._running = asyncio.ensure_future(self._ask())
        found = await asyncio.shield(answer)
        if isinstance(found, Exception):
            raise Doubt(f"ids of topics: {found}") from found
        return {topic: found[topic] for topic in topics if topic in found}

    async def _ask(self) -> None:
        while self._next:
            answer, self._next = self._next, None
            wanted, self._wanted = sorted(self._wanted), set()
            loop = asyncio.get_running_loop()
            try:
                answer.set_result(await loop.run_in_executor(self._thread, self._describe, wanted))
            except (KafkaException, TimeoutError) as error:
                answer.set_result(error)
        self._running = None

    def _describe(self, topics: list[str]) -> dict[str, str]:
        return topic_ids(self._admin, topics)

    async def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False)


def topic_ids(admin: AdminClient, topics: list[str]) -> dict[str, str]:
    """The ids of those topics that exist, as Kafka's own tools write them: base64url, 22 characters.

    Raises KafkaException or TimeoutError where nobody answers. (librdkafka writes them in plain base64.)
    """
    asked = admin.describe_topics(TopicCollection(topics), request_timeout=ANSWER_TIMEOUT_S)
    found = {}
    for topic, described in asked.items():
        try:
            topic_id = str(described.result(ANSWER_TIMEOUT_S).topic_id)
        except KafkaException as error:
            if error.args[0].code() not in _MISSING:
                raise
        else:
            found[topic] = topic_id.replace("+", "-").replace("/", "_")
    return found


# The second is said of topics that do not exist to whoever may only see some.
_MISSING = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED)
