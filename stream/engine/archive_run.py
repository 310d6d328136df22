"""From a shard's ledger to the runs that the archive inserts. Pure: no clock, no I/O.

A run ends
- with the first block that brings it to ARCHIVE_RUN_ROWS_MIN rows (or to 64 MiB, where texts are long), and
- before the first block of another whole interval of block time; a month's end always is one as well.
So workers that start at the same mark cut the same runs, however the blocks reached them, and insert them
under the same deduplication token. Workers that start at different marks agree from the next interval on.

A run may also be flushed early: an idle shard's last run, or one that memory has no room for. Where it ends
is then a matter of timing, but nothing depends on anybody else knowing it:
- Where the next run starts is read from ClickHouse, never concluded from the rules above. An insert is there
  as a whole or not at all, so the mark lies at a block's end, and whoever comes next cuts anew what follows.
- Within a process an unanswered insert keeps its blocks and token until the mark tells that it is there. A
  delayed first attempt and its repetition carry the same token, and one of them is dropped.
- Between two processes (a zombie, or an insert still under way when its worker died) ranges may overlap under
  different tokens. No gap can come of it: everybody writes only what follows a mark that he has read. Rows
  written twice have the same (shard, seq, row) and the same content, as both workers accepted the same chain:
  the engine folds them, `entries` never shows them, and the checks count them once.
"""

from schemas.block import Block, open_next
from schemas.ledger_record import LedgerRecord
from schemas.limits import ARCHIVE_RUN_INTERVAL_MS, ARCHIVE_RUN_ROWS_MIN, MIB
from schemas.report import DAY_MS
from sinks.clickhouse.run import NOTHING, LedgerBlock, Mark, Run

ARCHIVE_RUN_BYTES_MIN = 64 * MIB  # 50,000 usual rows take 12 MiB; the longest texts of a row 1 KiB

assert DAY_MS % ARCHIVE_RUN_INTERVAL_MS == 0  # hence a month never ends within an interval


class ChainBroken(Exception):
    """The ledger and the archive do not fit together."""


class RunCutter:
    """The accepted chain of one shard after `mark`, cut into runs.

    Feed it every record of the shard's ledger from offset `start` on, in order. What does not follow the head
    (schemas/ledger_record.py) is ignored and counted: a zombie's blocks, repetitions, garbage.
    """

    def __init__(self, shard: int, mark: Mark) -> None:
        self.shard = shard
        self.start = max(mark.ledger_offset, 0)  # the marked block itself is read again, and compared
        self.head = mark
        self.nbytes = 0  # of the open run
        self.ignored = 0  # records that do not count
        self._confirmed = mark == NOTHING
        self._open: list[LedgerBlock] = []
        self._rows = 0

    def push(self, record: LedgerRecord, ledger_offset: int) -> list[Run]:
        """The runs, at most two, that this record ends.

        Raises `ChainBroken`, and what `open_next` raises for a record that counts and cannot be read.
        """
        if not self._confirmed:
            self._confirm(record, ledger_offset)
            return []
        if not record.follows(self.head.block_hash):
            self.ignored += 1
            return []
        block = open_next(record, self.shard, self.head.seq + 1)
        runs: list[Run] = []
        if self._open and _interval(block) != _interval(self._open[0].block):
            runs.append(self._end())
        self._open.append(LedgerBlock(block, ledger_offset))
        self._rows += block.rows.num_rows
        self.nbytes += block.rows.nbytes
        self.head = Mark(block.meta.seq, block.hash, ledger_offset)
        if self._rows >= ARCHIVE_RUN_ROWS_MIN or self.nbytes >= ARCHIVE_RUN_BYTES_MIN:
            runs.append(self._end())
        return runs

    def flush(self) -> Run | None:
        """Ends the open run, if there is one, without waiting for more."""
        return self._end() if self._open else None

    def _end(self) -> Run:
        run = Run(self.shard, tuple(self._open))
        self._open, self._rows, self.nbytes = [], 0, 0
        return run

    def _confirm(self, record: LedgerRecord, ledger_offset: int) -> None:
        """The archive's last block must be the ledger's at its place: else they are of two platforms."""
        same = record.hash == self.head.block_hash and record.follows(record.prev)
        if ledger_offset != self.head.ledger_offset or not same:
            found = f"{record.hash.hex()[:16] or 'no block'} at ledger offset {ledger_offset}"
            raise ChainBroken(f"the archive ends with {_shown(self.head)}, the ledger has {found}")
        self._confirmed = True


def _interval(block: Block) -> int:
    return block.meta.time_ms // ARCHIVE_RUN_INTERVAL_MS


def _shown(mark: Mark) -> str:
    return f"block {mark.seq} ({mark.block_hash.hex()[:16]}) at ledger offset {mark.ledger_offset}"
