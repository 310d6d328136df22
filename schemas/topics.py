"""The Kafka topics: names, who writes and reads them, and their settings.

Every topic has the same number of partitions, because a partition is a shard: one order, one ledger
partition, one Redis slot, one worker. The number is fixed for life, as key -> partition depends on it.
"""

from collections.abc import Iterable

import msgspec

from schemas import limits
from schemas.report import DAY_MS

COMMANDS = "commands"
LEDGER = "ledger"
DEAD_LETTERS = "dead-letters"
CLOCK = "clock"
INTAKE_PREFIX = "intake."
OUTCOMES_PREFIX = "outcomes."
_HOUR_MS = "3600000"


def intake_topic(app: str) -> str:
    """The topic which app `app`, and nobody else, may write."""
    return INTAKE_PREFIX + app


def outcomes_topic(app: str) -> str:
    """The topic in which app `app`, and nobody else, finds what became of its records."""
    return OUTCOMES_PREFIX + app


def app_of(topic: str) -> str:
    """The app that an intake topic belongs to; '' for the platform's own `commands`."""
    return topic.removeprefix(INTAKE_PREFIX) if topic.startswith(INTAKE_PREFIX) else ""


def outcomes_app_of(topic: str) -> str:
    """The app that a topic of outcomes belongs to."""
    return topic.removeprefix(OUTCOMES_PREFIX)


class TopicSpec(msgspec.Struct, frozen=True):
    """One topic as it must exist on the broker; `config` holds Kafka's own setting names."""

    name: str
    partitions: int
    config: dict[str, str]


def _source_config() -> dict[str, str]:
    # LogAppendTime: the broker's clock orders records, an app's clock must not.
    # Size: beyond it the broker refuses; below it the verdict too_large answers (limits.RECORD_BYTES_MAX).
    return {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(limits.INTAKE_MESSAGE_BYTES_MAX),
        "retention.ms": str(30 * DAY_MS),
    }


def _told_config(days: int) -> dict[str, str]:
    # The broker's time here, too: it refuses a writer's that is an hour off.
    return {"message.timestamp.type": "LogAppendTime", "retention.ms": str(days * DAY_MS)}


def topic_specs(shards: int, apps: Iterable[str]) -> list[TopicSpec]:
    """All topics of a platform with `shards` partitions and these registered apps."""
    specs = [
        TopicSpec(COMMANDS, shards, _source_config()),
        # The ledger is the truth: kept for ever, and on a lone broker flushed to disk before the answer.
        TopicSpec(
            LEDGER,
            shards,
            {
                "message.timestamp.type": "LogAppendTime",
                "max.message.bytes": str(limits.BLOCK_BYTES_MAX),
                "retention.ms": "-1",
                "retention.bytes": "-1",
                "cleanup.policy": "delete",
                "flush.messages": "1",
            },
        ),
        TopicSpec(DEAD_LETTERS, shards, _told_config(90)),
        # Empty records of whoever asks for the broker's time: it stands in the answer, nobody reads them.
        TopicSpec(
            CLOCK,
            shards,
            {"message.timestamp.type": "LogAppendTime", "retention.ms": _HOUR_MS, "segment.ms": _HOUR_MS},
        ),
    ]
    return specs + [spec for app in apps for spec in app_topic_specs(shards, app)]


def app_topic_specs(shards: int, app: str) -> list[TopicSpec]:
    """The topics of one app."""
    return [
        TopicSpec(intake_topic(app), shards, _source_config()),
        TopicSpec(outcomes_topic(app), shards, _told_config(30)),
    ]
