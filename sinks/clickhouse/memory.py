"""The archive in memory: the same answers, for tests of what stands above it."""

from sinks.clickhouse.errors import ArchiveDamaged
from sinks.clickhouse.run import NOTHING, LedgerBlock, Mark, Run


class MemoryArchive:
    """An `Archive` that forgets everything with the process. `blocks` is keyed by (shard, seq)."""

    def __init__(self) -> None:
        self.blocks: dict[tuple[int, int], LedgerBlock] = {}

    def high_water(self, shard: int, verified: Mark = NOTHING) -> Mark:
        """See `Archive`."""
        seqs = sorted(seq for s, seq in self.blocks if s == shard and seq > verified.seq)
        if seqs != list(range(verified.seq + 1, verified.seq + 1 + len(seqs))):
            raise ArchiveDamaged(f"The archive of shard {shard} has gaps.", "make a new one.")
        return Run(shard, (self.blocks[shard, seqs[-1]],)).end if seqs else verified

    def append(self, run: Run, mark: Mark) -> Mark:
        """See `Archive`."""
        assert run.first_seq == mark.seq + 1, "a run follows the mark"
        self.blocks |= {(run.shard, b.block.meta.seq): b for b in run.blocks}
        return self.high_water(run.shard, mark)

    def close(self) -> None:
        """See `Archive`."""
