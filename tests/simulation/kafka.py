"""What apps and the platform write: topics with their ids, and logs that can be lost or begin anew."""

from collections import defaultdict
from typing import Any

from faust.types.tuples import TP

from stream.batches.fetch import Fetch
from stream.batches.reader import Batch, Unreadable
from tests.making import packed
from tests.simulation.traffic import TOPICS, Intent, unreadable

Place = tuple[str, int, int]  # id of the topic, shard, offset


class Broker:
    """The source topics. `said`: what stands, or stood, where."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._made = 0
        self.ids: dict[str, str] = {}
        self.topic_of: dict[str, str] = {}  # by id, also of topics that are gone
        self._last: dict[TP, Place] = {}
        self.logs: dict[TP, list[Batch]] = defaultdict(list)
        self.ends: dict[TP, int] = defaultdict(int)
        self.starts: dict[TP, int] = defaultdict(int)
        self.said: dict[Place, Intent] = {}
        self.times_ms: dict[Place, int] = {}  # when the broker had it; a source's times never fall
        for topic in TOPICS:
            self.make(topic)

    def make(self, topic: str) -> None:
        """The topic is deleted and made again: same name, other id, empty."""
        self._made += 1
        self.ids[topic] = f"{topic}-{self._made}".ljust(22, "-").replace(".", "-")
        self.topic_of[self.ids[topic]] = topic
        for of_all in (self._last, self.logs, self.ends, self.starts):
            for tp in [tp for tp in of_all if tp.topic == topic]:
                del of_all[tp]

    def delete_before(self, tp: TP, offset: int) -> None:
        """Records are deleted, read or not; a batch that nobody can read, as a whole or not at all."""
        offset = min(offset, self.ends[tp])
        for batch in self.logs[tp]:
            whole = self.said.get((self.ids[tp.topic], tp.partition, batch.base))
            if batch.base < offset < batch.next and whole and whole.kind == "unreadable":
                offset = batch.base
        self.starts[tp] = max(self.starts[tp], offset)
        self.logs[tp] = [batch for batch in self.logs[tp] if batch.next > self.starts[tp]]

    def produce(self, topic: str, shard: int, *intents: Intent) -> int:
        """One batch, now and then behind a transaction's marker. Returns its first offset."""
        tp, now_ms = TP(topic, shard), self._world.now_ms()
        first = self.ends[tp] + (self._world.chance.uniform("marker") < 0.04)
        batch = packed(first, *[intent.value or None for intent in intents], ms=now_ms)
        self._append(tp, batch, intents)
        return first

    def produce_unreadable(self, topic: str, shard: int, offsets: int, by_header: bool) -> None:
        """A batch that no client can read: its header says so, or what is in it."""
        first = self.ends[TP(topic, shard)]
        refused = Unreadable("none", "another number of records than of offsets") if by_header else None
        batch = Batch(first, first + offsets, self._world.now_ms(), offsets, 0, b"\x01", refused)
        self._append(TP(topic, shard), batch, [unreadable(offsets, by_header)])

    def _append(self, tp: TP, batch: Batch, intents: Any) -> None:
        before = self.times_ms.get(self._last.get(tp), 0)
        self.logs[tp].append(batch)
        self.ends[tp] = batch.next
        for i, intent in enumerate(intents):
            place = (self.ids[tp.topic], tp.partition, batch.base + i)
            self.said[place] = intent
            self.times_ms[place] = max(before, batch.broker_ms)
            self._last[tp] = place

    def fetch(self, tp: TP, position: int, batches: int) -> Fetch | None:
        """At most so many batches from `position` on: of whatever topic has that name now."""
        found = [batch for batch in self.logs[tp] if batch.next > position][:batches]
        if not found:
            return None
        if found[0].base > position:
            self._world.count("transport: an offset gap")
        return Fetch(tp.topic, tp.partition, position, found[-1].next, found, self.ends[tp])
