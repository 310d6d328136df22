"""How the platform says something: records in topic `commands`, in the partition that is the shard."""

from collections.abc import Iterable, Mapping
from typing import TypedDict

from confluent_kafka import Producer

from schemas.command import encode_command
from schemas.kinds import Command
from schemas.topics import COMMANDS
from stream.errors import OperatorError
from stream.settings import Settings

FLUSH_TIMEOUT_S = 30.0


class Labels(TypedDict):
    """Who gave a command, who approved it and why: see schemas/kinds/said.py."""

    by: str
    approved_by: str
    reason: str


def say(settings: Settings, commands: Mapping[int, Command]) -> dict[int, int]:
    """Gives each shard its command; the offset of each, once the broker has all. Raises OperatorError."""
    return say_all(settings, commands.items())


def say_all(settings: Settings, commands: Iterable[tuple[int, Command]]) -> dict[int, int]:
    """Gives shards any number of commands, in their order; the offset of each shard's last one."""
    failed: list[str] = []
    offsets: dict[int, int] = {}
    producer = Producer({**settings.librdkafka("admin"), "acks": "all", "enable.idempotence": True})

    def delivered(error, message) -> None:
        if error:
            failed.append(error.str())
        else:
            offsets[message.partition()] = message.offset()

    for shard, command in commands:
        producer.produce(COMMANDS, encode_command(command), partition=shard, on_delivery=delivered)
    left = producer.flush(FLUSH_TIMEOUT_S)
    if failed or left:
        why = failed[0] if failed else f"no answer within {FLUSH_TIMEOUT_S:.0f} s"
        raise OperatorError(
            f"Not every shard was told: {why}.",
            "see with `points doctor` that Kafka runs, then repeat the command: it may be said twice.",
        )
    return offsets
