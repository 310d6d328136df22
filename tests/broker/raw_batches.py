"""Batches that the real broker takes from an app, whatever stands in them, and the app's way to send them."""

from collections.abc import Iterator
from itertools import chain, count
from random import Random

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.produce import ProduceRequest

from schemas.limits import BATCH_UNPACKED_BYTES_MAX
from stream.batches.unpack import CUT_OFF, TOO_LARGE, UnpackError, unpack
from stream.settings import Settings
from tests.batches import faults
from tests.batches.kinds import HAND_MADE
from tests.batches.making import SNAPPY, Made


def made(seed: int = 9) -> Iterator[tuple[str, Made]]:
    """The hand-made ones, then the fuzzer's for ever."""
    return chain(hand_made(), fuzzed(seed))


def hand_made() -> Iterator[tuple[str, Made]]:
    """One of each kind; without those that end the broker's process."""
    return ((kind, batch) for kind, batch in HAND_MADE.items() if not says_too_much(batch))


def fuzzed(seed: int) -> Iterator[tuple[str, Made]]:
    """For ever, one of each kind in turn; without those that end the broker's process."""
    rng = Random(seed)
    batches = ((kind, make(rng)) for _ in count() for kind, make in faults.APP_KINDS.items())
    return ((kind, batch) for kind, batch in batches if not says_too_much(batch))


def says_too_much(batch: Made) -> bool:
    """snappy-java sets aside what a block says that it has or unpacks to: 80 bytes may say 2 GiB."""
    if batch.codec != SNAPPY:
        return False
    try:
        unpack(SNAPPY, batch.payload, BATCH_UNPACKED_BYTES_MAX)
    except UnpackError as error:
        return str(error) in (CUT_OFF, TOO_LARGE)
    return False


async def client_of(settings: Settings, app: str) -> AIOKafkaClient:
    """A connected client with the app's own credentials, to its intake topic."""
    client = AIOKafkaClient(**settings.kafka_client(f"app-{app}"))
    await client.bootstrap()
    client.add_topic(f"intake.{app}")
    await client.force_metadata_update()
    return client


async def send(client: AIOKafkaClient, source: TopicPartition, batch: Made) -> tuple[int, int] | None:
    """The offsets [first, next) that the broker gave to a batch; None if it refused it."""
    node = client.cluster.leader_for_partition(source)
    request = ProduceRequest(None, -1, 30_000, [(source.topic, [(source.partition, batch.sent())])])
    try:
        [(_, [(_, error, base, *_)])] = (await client.send(node, request)).topics
    except KafkaConnectionError:  # what the broker did not foresee, it answers by hanging up
        return None
    return None if error else (base, base + (batch.count if batch.offsets is None else batch.offsets))
