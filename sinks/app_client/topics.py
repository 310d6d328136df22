"""What an app asks the broker about its own two topics: their ids and their partitions.

Neither a producer nor a consumer tells under which id of a topic it has worked, so the ids are asked for
before and after: if they are the same, it was under these, as no id comes back.
"""

from typing import NamedTuple

from confluent_kafka import Message, TopicCollection
from confluent_kafka.admin import AdminClient, TopicDescription

from schemas.topics import intake_topic, outcomes_topic

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 10.0


class Ids(NamedTuple):
    """The ids that an app's topics have."""

    intake: str
    outcomes: str


class Topics:
    """The topics of one app. `client`: librdkafka's settings with the app's login.

    All methods raise KafkaException, also where a topic is not there.
    """

    def __init__(self, client: dict, app: str) -> None:
        self._admin = AdminClient(client)
        self.intake, self.outcomes = intake_topic(app), outcomes_topic(app)

    def cluster_id(self) -> str:
        """The id of this Kafka; tells soon if it cannot be reached."""
        return str(self._admin.list_topics(self.outcomes, timeout=CONNECT_TIMEOUT_S).cluster_id)

    def ids(self) -> Ids:
        """The ids that the topics have now."""
        return Ids(*(_written(topic) for topic in self._describe()))

    def shards(self) -> int:
        """The platform's number of partitions. One that only one of the topics has is read by nobody."""
        return min(len(topic.partitions) for topic in self._describe())

    def _describe(self) -> list[TopicDescription]:
        names = [self.intake, self.outcomes]
        asked = self._admin.describe_topics(TopicCollection(names), request_timeout=ANSWER_TIMEOUT_S)
        return [asked[name].result() for name in names]


def _written(topic: TopicDescription) -> str:
    """As in outcomes: base64url. (librdkafka writes plain base64.)"""
    return str(topic.topic_id).replace("+", "-").replace("/", "_")


def place_of(message: Message) -> tuple[int, int]:
    """Partition and offset of a message that Kafka has."""
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset
