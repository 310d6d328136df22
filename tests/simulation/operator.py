"""The platform's own part: it registers apps, says how sources go on, and looks after dead letters."""

import asyncio
from typing import Any

from faust.types.tuples import TP

from schemas.topics import COMMANDS, intake_topic
from tests.simulation import traffic

GENESIS = {"shards": traffic.SHARDS, "dedupe_key": "5e" * 16, "simulated_clock": True, "fair_rows_s": 2}


class Operator:
    """Says commands. `rows_per_day`: the quota with which each app is registered from now on."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.first_ids: dict[str, str] = {}  # of the apps' topics, as they were registered
        self.wanted_apps: dict[str, bool] = {}
        scarce = world.chance.uniform("scarce") < 0.2
        self.rows_per_day = {
            app: 10 + world.chance.below("quota", 20) if scarce else 10**6 for app in traffic.APPS
        }
        self.quotas = dict(self.rows_per_day)  # as they were at first

    def give_all(self) -> None:
        """Every app is registered, as it was meant last, with a quota that never ends."""
        self.rows_per_day = dict.fromkeys(traffic.APPS, 10**6)
        self.wanted_apps = dict.fromkeys(traffic.APPS, True) | self.wanted_apps
        self.repeat_registry()

    def command(self, intent: traffic.Intent) -> None:
        """What the platform says goes to every shard."""
        for shard in range(self._world.shards):
            self._world.broker.produce(COMMANDS, shard, intent)

    def register(self, app: str, active: bool) -> None:
        """The platform registers an app, or changes it; the id of its topic is settled by the first time."""
        topic_id = self.first_ids.setdefault(app, self._world.broker.ids[intake_topic(app)])
        self.wanted_apps[app] = active
        self.command(traffic.registration(app, active, topic_id, self.rows_per_day[app]))

    def repeat_registry(self) -> None:
        """What was said into a topic that is gone is said again."""
        for app, active in list(self.wanted_apps.items()):
            self.register(app, active)
        self._world.upgrade.repeat()

    def adopt(self, shard: int, topic: str, topic_id: str, first: int) -> None:
        """The platform tells a shard how a source goes on."""
        self._world.broker.produce(COMMANDS, shard, traffic.adoption(topic, topic_id, first))
        self._world.story(f"shard {shard}: {topic} is to go on at offset {first}")

    def settle_dead_letter(self) -> None:
        """The platform replays or dismisses some record of an app, whatever became of it.

        It may be one that was credited, that waits still, or that was replayed before.
        """
        said = [(place, i) for place, i in self._world.broker.said.items() if i.kind in ("report", "rubbish")]
        if not said:
            return
        recent = said[-12:]
        (topic_id, partition, offset), of = recent[self._world.chance.below("which letter", len(recent))]
        place = (self._world.broker.topic_of[topic_id], topic_id, partition, offset)
        shard = traffic.persons().index(of.uid) // 5 if of.uid else partition
        draw = self._world.chance.uniform("settle")
        if draw < 0.1:
            self._world.broker.produce(COMMANDS, partition, traffic.dismissal(place))
            return
        key = bytes.fromhex(GENESIS["dedupe_key"])
        replayed = traffic.replay(place, of, key, tampered=draw < 0.2)
        self._world.broker.produce(COMMANDS, shard, replayed)

    async def operate(self) -> None:
        """What an operator does about sources that stopped: tells each shard how they go on."""
        world, broker = self._world, self._world.broker
        while True:
            await asyncio.sleep(2 + 3 * world.chance.uniform("operator"))
            for topic in traffic.TOPICS:
                if not self._stopped(topic):
                    continue
                world.count(f"operator: {'commands' if topic == COMMANDS else 'a topic'} adopted")
                for shard in range(world.shards):
                    if topic == COMMANDS:  # its adoption must be the first thing in it
                        broker.delete_before(TP(topic, shard), broker.ends[TP(topic, shard)])
                    first = broker.starts[TP(topic, shard)]
                    self.adopt(shard, topic, broker.ids[topic], first)
                if topic == COMMANDS:
                    self.repeat_registry()

    def _stopped(self, topic: str) -> bool:
        """Whether some shard's source is another topic, or stands before what is left of it."""
        broker = self._world.broker
        for shard in range(self._world.shards):
            source = self._world.positions[shard].get(topic)
            if source and (source[0] != broker.ids[topic] or source[1] < broker.starts[TP(topic, shard)]):
                return True
        return False
