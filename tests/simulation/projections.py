"""Another release's projection: the same fold, kept in a form of its own."""

from typing import Any

import msgspec

from schemas.state import Change
from sinks.fingerprint import FINGERPRINT
from sinks.memory import MemoryRedis, MemoryStore
from sinks.ports import Snapshot

OTHER = "07e4c1"  # as the fingerprint of another release
PROJECTIONS = (FINGERPRINT, OTHER)


class OtherStore(MemoryStore):
    """The store of a release that keeps members in another form: it finds none that the first one left."""

    def __init__(self, server: MemoryRedis) -> None:
        super().__init__(server, OTHER)

    async def read(self, shard: int, uids: list[str], lookups: dict[int, list[int]]) -> Snapshot:
        found = await super().read(shard, uids, turned(lookups))
        return found._replace(seen={~member for member in found.seen})

    async def commit(self, change: Change) -> None:
        await super().commit(msgspec.structs.replace(change, members=turned(change.members)))


def turned(members: dict[int, Any]) -> dict[int, list[int]]:
    """Members in the other release's form, or back."""
    return {day: [~member for member in of_day] for day, of_day in members.items()}


def store_of(server: MemoryRedis, projection: str) -> MemoryStore:
    """The store of one worker of a release."""
    return OtherStore(server) if projection == OTHER else MemoryStore(server)
