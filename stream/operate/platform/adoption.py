"""Sources that cannot go on where their shards stand: what is there now, what is lost, and how they go on.

A shard goes on elsewhere, in a topic that was made again or behind records that were deleted unread, only by
an `adopt` command. What is compared here are the projection's heads; a shard that is further than that
refuses what is below its position under the same id.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from schemas import topics
from schemas.kinds.adopt import AdoptCommand
from schemas.kinds.app import AppCommand
from schemas.state import Head, Source
from sinks.kafka_topics import topic_ids
from stream.errors import OperatorError
from stream.operate.platform import kafka_admin, onboarding
from stream.operate.platform.commands import Labels, say
from stream.operate.platform.kafka_admin import REQUEST_TIMEOUT_S
from stream.operate.projection import open_projection
from stream.settings import Settings

GOES_ON, MADE_AGAIN, DELETED_UNREAD = "goes on", "made again", "deleted unread"
SHORTER, MISSING, NOT_REGISTERED = "shorter than decided", "missing", "not registered"
TRIES_MAX = 5  # of an adoption of `commands` that must be the first record there: others may be speaking


class Standing(NamedTuple):
    """One source in one shard: where the shard's head stands, and what the broker has.

    `known_id` is '' where the head names no such source, `topic_id` where the broker has no such partition;
    the broker has the offsets `first` <= o < `end`.
    """

    topic: str
    shard: int
    known_id: str
    due: int
    topic_id: str
    first: int
    end: int

    @property
    def state(self) -> str:
        """In a word, whether the shard can go on."""
        if not self.topic_id:
            return MISSING
        if not self.known_id:
            return NOT_REGISTERED
        if self.topic_id != self.known_id:
            return MADE_AGAIN
        if self.due < self.first:
            return DELETED_UNREAD
        return SHORTER if self.due > self.end else GOES_ON

    @property
    def lost(self) -> str:
        """What nobody will read once the shard goes on with what is there."""
        if self.state == DELETED_UNREAD:
            return f"offsets {self.due} to {self.first - 1}"
        if self.state != MADE_AGAIN:
            return "nothing"
        behind = f", and offsets 0 to {self.first - 1} of the new topic" if self.first else ""
        return f"all from offset {self.due} on of the topic before{behind}"


class Partitions(NamedTuple):
    """A topic as the broker has it: its id, and of each partition the first offset and the end."""

    topic_id: str
    offsets: dict[int, tuple[int, int]]


def heads(settings: Settings) -> dict[int, Head]:
    """Every shard's head. Raises OperatorError if Redis does not hold one."""
    return asyncio.run(_heads(settings))


async def _heads(settings: Settings) -> dict[int, Head]:
    found = {}
    async with open_projection(settings) as store:
        for shard in range(settings.shards):
            if (head := await store.load_head(shard)) is None:
                raise OperatorError(
                    f"Redis does not hold shard {shard} now.",
                    "start an intake worker, which makes it from the ledger, then repeat the command.",
                )
            found[shard] = head
    return found


def sources_of(found: dict[int, Head]) -> list[str]:
    """The topics that some head names."""
    return sorted({topic for head in found.values() for topic in head.sources})


def standings(settings: Settings, found: dict[int, Head], names: list[str]) -> list[Standing]:
    """How each of these topics stands in each shard. Raises OperatorError."""
    there = _partitions(settings, names)
    out = []
    for topic in names:
        now = there.get(topic, Partitions("", {}))
        for shard, head in sorted(found.items()):
            known = head.sources.get(topic, Source("", 0))
            first, end = now.offsets.get(shard, (0, 0))
            topic_id = now.topic_id if shard in now.offsets else ""
            out.append(Standing(topic, shard, known.topic_id, known.next, topic_id, first, end))
    return out


def _partitions(settings: Settings, names: list[str]) -> dict[str, Partitions]:
    with kafka_admin.told_to_operator(settings):
        admin = kafka_admin.admin_client(settings)
        ids = topic_ids(admin, names) if names else {}
        seen = admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
        tps = [TopicPartition(t, p) for t in ids for p in seen[t].partitions if p < settings.shards]
        bounds = []
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):
            asked = admin.list_offsets(dict.fromkeys(tps, spec), request_timeout=REQUEST_TIMEOUT_S)
            bounds.append({(tp.topic, tp.partition): answer.result().offset for tp, answer in asked.items()})
    found = {topic: Partitions(topic_id, {}) for topic, topic_id in ids.items()}
    for (topic, shard), first in bounds[0].items():
        found[topic].offsets[shard] = (first, bounds[1][topic, shard])
    return found


def make_missing(settings: Settings, topic: str) -> None:
    """Makes a source topic, and an app's outcomes topic beside it, where they are missing."""
    app = topics.app_of(topic)
    specs = topics.app_topic_specs(settings.shards, app) if app else topics.topic_specs(settings.shards, ())
    with kafka_admin.told_to_operator(settings):
        kafka_admin.make_topics(kafka_admin.admin_client(settings), specs)
    kafka_admin.wait_visible(settings, "admin", {topic})


def stopped(found: list[Standing]) -> list[Standing]:
    """Those that an adoption lets go on. Raises OperatorError where none can.

    A shard that does not know the app yet may still be told so, by a command that names the topic's first id:
    where others need the adoption, it does, too.
    """
    for s in found:
        if s.state == SHORTER:
            raise OperatorError(
                f"{s.topic} ends at {s.end} in shard {s.shard}, but offsets below {s.due} were decided:"
                " its log lost records.",
                "put its log back from a replica; if it is gone, delete the topic by Kafka's own tools, then"
                f" repeat `points topics adopt {s.topic}`, which makes it again.",
            )
    needing = [s for s in found if s.state in (MADE_AGAIN, DELETED_UNREAD)]
    if any(s.state == MADE_AGAIN for s in needing):
        needing += [s for s in found if s.state == NOT_REGISTERED]
    return needing


def adopt(settings: Settings, needing: list[Standing], said: Labels) -> dict[int, AdoptCommand]:
    """Tells the shards that their sources of one topic go on with what is there. Raises OperatorError."""
    adoptions = {
        s.shard: AdoptCommand(topic=s.topic, topic_id=s.topic_id, first=s.first, **said) for s in needing
    }
    if needing[0].topic != topics.COMMANDS:
        say(settings, adoptions)
        return adoptions
    return {shard: _adopt_commands(settings, shard, adopted) for shard, adopted in adoptions.items()}


def _adopt_commands(settings: Settings, shard: int, adopted: AdoptCommand) -> AdoptCommand:
    """The adoption of `commands` must be the first record that is read there: empties the partition first."""
    for _ in range(TRIES_MAX):
        with kafka_admin.told_to_operator(settings):
            admin = kafka_admin.admin_client(settings)
            everything = TopicPartition(topics.COMMANDS, shard, -1)
            [answer] = admin.delete_records([everything], request_timeout=REQUEST_TIMEOUT_S).values()
            first = answer.result().low_watermark
        adopted = AdoptCommand(
            topic=adopted.topic, topic_id=adopted.topic_id, first=first,
            by=adopted.by, approved_by=adopted.approved_by, reason=adopted.reason,
        )  # fmt: skip
        if say(settings, {shard: adopted}) == {shard: first}:
            return adopted
    raise OperatorError(
        f"Somebody else writes to topic commands, shard {shard}, all the time.",
        "end the other `points` commands, then repeat this one.",
    )


def repeat_registry(settings: Settings, said: Labels) -> tuple[list[str], list[str]]:
    """Says again to the shards that do not know an app what the others know: that word may be lost.

    Returns the apps that were repeated, and those that shards know differently: which is right, nobody here
    can tell.
    """
    repeated, unlike = [], []
    for app, known in sorted(onboarding.registry(settings).items()):
        first = known[min(known)]
        if any(registered != first for registered in known.values()):
            unlike.append(app)
        elif missing := [shard for shard in range(settings.shards) if shard not in known]:
            say(settings, dict.fromkeys(missing, AppCommand(app=first, **said)))
            repeated.append(app)
    return repeated, unlike


def wait_in_force(settings: Settings, adoptions: dict[int, AdoptCommand]) -> list[int]:
    """Waits until every shard goes on there; not if no intake worker runs. Returns the shards that do not."""
    return _wait(settings, {shard: partial(_is_in_force, adopted) for shard, adopted in adoptions.items()})


def wait_decided(settings: Settings, offsets: dict[int, int]) -> list[int]:
    """Waits likewise until each shard has decided what stands in its `commands` at an offset."""
    return _wait(settings, {shard: partial(_is_decided, offset) for shard, offset in offsets.items()})


def _wait(settings: Settings, done: dict[int, Callable[[dict[str, Source]], bool]]) -> list[int]:
    deadline_s = time.monotonic() + onboarding.IN_FORCE_TIMEOUT_S
    while True:
        found = asyncio.run(_sources(settings, list(done)))
        behind = [shard for shard, is_done in done.items() if not is_done(found[shard])]
        if not behind or time.monotonic() > deadline_s or not onboarding.intake_runs(settings):
            return behind
        time.sleep(onboarding.IN_FORCE_POLL_S)


async def _sources(settings: Settings, shards: list[int]) -> dict[int, dict[str, Source]]:
    async with open_projection(settings) as store:
        return {s: head.sources if (head := await store.load_head(s)) else {} for s in shards}


def _is_in_force(adopted: AdoptCommand, sources: dict[str, Source]) -> bool:
    source = sources.get(adopted.topic)
    return source is not None and source.topic_id == adopted.topic_id and source.next >= adopted.first


def _is_decided(offset: int, sources: dict[str, Source]) -> bool:
    commands = sources.get(topics.COMMANDS)
    return commands is not None and commands.next > offset
