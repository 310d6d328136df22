"""Blocks in a row as one change: what a recovery does in one step. The same states, by the same `apply`."""

from schemas.block import Block
from schemas.limits import RECOVERY_BLOCKS_MAX, RECOVERY_BYTES_MAX, RECOVERY_ROWS_MAX
from schemas.report import shanghai_day
from schemas.state import Change, Head, Person
from stream.core.apply import apply, touched


class Step:
    """Blocks that follow `head`, each with its ledger offset; bounded as a cycle is, but never empty."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.found: list[tuple[int, Block]] = []
        self.ignored = 0  # records met on the way that do not count: a zombie's blocks, or garbage
        self._rows = self._nbytes = 0

    @property
    def tip(self) -> bytes:
        """The hash that the next block must follow."""
        return self.found[-1][1].hash if self.found else self.head.hash

    @property
    def next_seq(self) -> int:
        return self.head.seq + len(self.found) + 1

    def has_room(self, block: Block) -> bool:
        return not self.found or (
            len(self.found) < RECOVERY_BLOCKS_MAX
            and self._rows + block.rows.num_rows <= RECOVERY_ROWS_MAX
            and self._nbytes + block.rows.get_total_buffer_size() <= RECOVERY_BYTES_MAX
        )

    def add(self, offset: int, block: Block) -> None:
        self.found.append((offset, block))
        self._rows += block.rows.num_rows
        self._nbytes += block.rows.get_total_buffer_size()

    def touched(self) -> list[str]:
        """The persons whose values `apply_all` needs."""
        return list(dict.fromkeys(uid for _, block in self.found for uid in touched(block)))


def apply_all(found: list[tuple[int, Block]], head: Head, persons: dict[str, Person]) -> Change:
    """What blocks, each with its ledger offset, change one after the other; the first of them follows `head`.

    `persons`: the values before, of at least those whom any of the blocks touches. They are not modified.
    """
    shard, prev, newest = found[0][1].meta.shard, head.hash, shanghai_day(head.time_ms) + 1
    changed: dict[str, Person] = {}
    members: dict[int, list[int]] = {}
    retired: set[int] = set()
    registry = False
    now = dict(persons)
    for offset, block in found:
        change = apply(block, head, now, offset)
        head = change.head
        now |= change.persons
        changed |= change.persons
        for day in change.retired_days:
            members.pop(day, None)
        for day, new in change.members.items():
            members.setdefault(day, []).extend(new)
        retired.update(change.retired_days)
        registry = registry or change.registry
    # Of a generation that began and ended on the way nothing was stored: years of time may pass in a step.
    dropped = sorted(day for day in retired if day <= newest)
    blocks = [block.hash for _, block in found]
    return Change(shard, prev, head, changed, members, dropped, blocks, registry)
