"""Where the sources of a worker's shards go on, or why they do not: one app's trouble is its own."""

import structlog
from aiokafka.errors import KafkaError
from faust.types.tuples import TP

from schemas.state import Source
from schemas.topics import COMMANDS
from sinks.ports import Doubt, Topics
from stream.engine.cycle import Shard
from stream.engine.transport import BatchConsumer
from stream.telemetry.intake import IntakeMetrics

log = structlog.get_logger()


class Placing:
    """Places the sources of shards: a topic with the id that the head names, from where the head says."""

    def __init__(self, broker: Topics, metrics: IntakeMetrics) -> None:
        self._broker, self._metrics = broker, metrics
        # Sources that cannot go on, with where they stood: only an adoption moves them.
        self._stopped: dict[TP, tuple[Source, str]] = {}

    def stop(self, shard: Shard, tp: TP, reason: str, what: str) -> None:
        """A source cannot go on: nothing more of it is read before it was adopted."""
        if source := shard.head.sources.get(tp.topic):
            self._stopped[tp] = (source, reason)
            shard.misplaced = True
            log.error(
                "a source cannot go on; the others do",
                topic=tp.topic,
                shard=tp.partition,
                why=what,
                todo=f"run `points topics adopt {tp.topic}`; see docs/runbook.md, a source that stopped",
            )

    def begin(self) -> None:
        """A new assignment looks anew: what stopped under the one before may have been put right since."""
        self._stopped.clear()

    async def place(self, shard: Shard, topics: list[str], consumer: BatchConsumer) -> None:
        """Opens the shard's buffer, and has every source delivered that may go on. Raises `Doubt`."""
        names = self._names(shard, topics)
        ids = await self._broker.ids(names)
        continued = {topic: s for topic in names if (s := self._continued(shard, topic, ids))}
        sources = {topic: s for topic, s in continued.items() if topic in topics}
        try:
            if COMMANDS not in sources:
                sources[COMMANDS] = await _not_adopted(TP(COMMANDS, shard.number), ids, consumer)
            tps = {topic: TP(topic, shard.number) for topic in sources}
            ends = await consumer.ends_of(list(tps.values()))
        except (KafkaError, TimeoutError) as error:
            raise Doubt(f"ends of topics: {error!r}") from error
        shard.open_buffer(sources, {topic: ends[tp] for topic, tp in tps.items()})
        heads = shard.head.sources
        shard.unread = {t: heads[t] for t in names if t in heads and continued.get(t) != heads[t]}
        shard.misplaced = False
        self._metrics.ready(shard, sources)
        await consumer.seek_to({tps[topic]: source.next for topic, source in sources.items()})

    @staticmethod
    def _names(shard: Shard, topics: list[str]) -> list[str]:
        """All sources of the shard: a topic that is missing is assigned to nobody, and no less stopped."""
        return sorted({*topics, *shard.head.sources})

    def _continued(self, shard: Shard, topic: str, ids: dict[str, str]) -> Source | None:
        """Where a source of the shard goes on; None if it does not, or not yet."""
        source, tp = shard.head.sources.get(topic), TP(topic, shard.number)
        if tp in self._stopped and self._stopped[tp][0] != source:
            del self._stopped[tp]  # it was adopted
        if source is None:
            return None  # no app is registered that has it
        if ids.get(topic) == source.topic_id and tp not in self._stopped:
            return source
        gone = "made_again" if topic in ids else "missing"
        reason = self._stopped[tp][1] if tp in self._stopped else gone
        self._metrics.source_stopped(tp, reason)
        log.warning("a source is not read", topic=topic, shard=shard.number, reason=reason)
        return None

    async def look(self, shard: Shard, topics: list[str]) -> None:
        """A topic that was made again, or is there again, need not have records to be noticed."""
        names = self._names(shard, topics)
        ids = await self._broker.ids(names)
        for topic in names:
            known = shard.head.sources.get(topic)
            if known and TP(topic, shard.number) not in self._stopped:
                is_there = ids.get(topic) == known.topic_id
                shard.misplaced = shard.misplaced or is_there == (topic in shard.unread)


def is_misplaced(shard: Shard, topics: list[str]) -> bool:
    """Whether the sources must be placed anew: one stopped, or a command registered one or moved it."""
    read, heads = shard.buffer.sources, shard.head.sources
    for topic in topics:
        if (source := heads.get(topic)) is None:
            continue
        stands = read.get(topic) == (source.topic_id, source.next)
        if shard.unread[topic] != source if topic in shard.unread else not stands:
            return True
    return shard.misplaced


async def _not_adopted(commands: TP, ids: dict[str, str], consumer: BatchConsumer) -> Source:
    """Topic `commands` where it is not what it was: it may begin with the word how it goes on."""
    if COMMANDS not in ids:
        raise Doubt("topic commands is missing: run `points up`, then `points topics adopt commands`")
    return Source(ids[COMMANDS], (await consumer.starts_of([commands]))[commands])
