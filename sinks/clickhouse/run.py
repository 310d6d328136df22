"""What the archive is given and what it answers: runs of blocks, and how far it has got."""

from typing import NamedTuple, Protocol

from schemas.block import Block
from schemas.state import ZERO_HASH


class LedgerBlock(NamedTuple):
    """An accepted block and the ledger offset at which it stands."""

    block: Block
    ledger_offset: int


class Mark(NamedTuple):
    """The high-water mark of a shard: its last archived block. The default stands for an empty archive."""

    seq: int = -1
    block_hash: bytes = ZERO_HASH
    ledger_offset: int = -1


NOTHING = Mark()


class Run(NamedTuple):
    """Successive blocks of one shard, of one month: what one insert writes."""

    shard: int
    blocks: tuple[LedgerBlock, ...]

    @property
    def first_seq(self) -> int:
        """`seq` of the first block."""
        return self.blocks[0].block.meta.seq

    @property
    def last_seq(self) -> int:
        """`seq` of the last block."""
        return self.blocks[-1].block.meta.seq

    @property
    def rows(self) -> int:
        """Rows of all blocks."""
        return sum(b.block.rows.num_rows for b in self.blocks)

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take in memory."""
        return sum(b.block.rows.nbytes for b in self.blocks)

    @property
    def token(self) -> str:
        """Deduplication token. ClickHouse drops what comes under a known token even if the rows differ, so it
        names the content: the last block's hash covers, through the chain, every row before it."""
        return f"{self.shard}:{self.first_seq}-{self.last_seq}:{self.blocks[-1].block.hash.hex()}"

    @property
    def end(self) -> Mark:
        """The mark once this run is archived."""
        last = self.blocks[-1]
        return Mark(last.block.meta.seq, last.block.hash, last.ledger_offset)

    def after(self, mark: Mark) -> "Run | None":
        """What of this run is not archived yet; None if all of it is."""
        rest = tuple(b for b in self.blocks if b.block.meta.seq > mark.seq)
        return Run(self.shard, rest) if rest else None


class Insert(NamedTuple):
    """A run as one insert: the columns' names, and the rows in Arrow's stream format."""

    shard: int
    first_seq: int
    last_seq: int
    token: str
    columns: list[str]
    body: bytes


class Archive(Protocol):
    """The archive as the worker uses it; all calls block, and come from one thread."""

    def high_water(self, shard: int, verified: Mark = NOTHING) -> Mark:
        """How far the shard is archived. What is above `verified` is checked: each block is there once,
        with all its rows. Raises `ArchiveDamaged` if not, `ArchiveUnavailable` if it cannot be known now."""

    def append(self, run: Run, mark: Mark) -> Mark:
        """Writes a run that follows `mark`; returns the mark read back, checked above `mark`.
        After `ArchiveUnavailable` the run is there as a whole or not at all: `high_water` tells."""

    def close(self) -> None:
        """Lets go of the server or the folder."""
