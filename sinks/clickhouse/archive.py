"""The ledger's rows in ClickHouse: one insert is one run, and the table itself says how far it has got."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from clickhouse_connect.driver.client import Client

from sinks.clickhouse.client import chdb_folder, migrate, open_client
from sinks.clickhouse.errors import ArchiveDamaged, ArchiveUnavailable, is_retriable
from sinks.clickhouse.run import NOTHING, Insert, Mark, Run

TABLE = "ledger_rows"
INSERT_SETTINGS = {
    "async_insert": 0,  # on by default since 26.x; coalesced inserts share tokens and can lose rows silently
    "max_insert_block_size": 1_000_000,  # a run, at most 66,383 rows, is never split
    "max_partitions_per_insert_block": 1,  # or it is refused: so it is there as a whole, or not
}
# Blocks above a verified one. A block counts as broken if rows are missing, wherever in it.
_HIGH_WATER = f"""
SELECT count(), min(seq), max(seq), argMax(block_hash, seq), argMax(ledger_offset, seq),
    countIf(found != block_rows), minIf(seq, found != block_rows)
FROM (
    SELECT seq, count() AS found, any(block_rows) AS block_rows, any(block_hash) AS block_hash,
        any(ledger_offset) AS ledger_offset
    FROM {TABLE} FINAL
    WHERE shard = {{shard:UInt16}} AND seq > {{above:Int64}}
    GROUP BY seq
)
SETTINGS do_not_merge_across_partitions_select_final = 1
"""  # noqa: S608 - the table is a constant
_Answer = TypeVar("_Answer")


class ClickHouseArchive:
    """The archive at `dsn`; connects when it is first needed, and anew after every error.

    After an error a handle is not trusted again: chDB was seen to put the left-over output of a failed query
    before the next answer, and a server that comes back may have been restored.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._folder_id: tuple[int, int] | None = None  # of chDB's folder, once it was opened
        self._client: Client | None = None
        self._migrated = False

    def high_water(self, shard: int, verified: Mark = NOTHING) -> Mark:
        """See `Archive`. 11 ms for 100,000 rows above `verified`."""
        return self._call(lambda client: self._high_water(client, shard, verified))

    def append(self, run: Run, mark: Mark) -> Mark:
        """See `Archive`."""
        # Here, as the engine's process, which writes what was made elsewhere, would start half a second
        # later.
        from sinks.clickhouse.rows import insert_of

        return self.write(insert_of(run), mark)

    def write(self, insert: Insert, mark: Mark) -> Mark:
        """`append`, of a run that is ready to be sent."""
        assert insert.first_seq == mark.seq + 1, "a run follows the mark"
        return self._call(lambda client: self._append(client, insert, mark))

    def open(self) -> None:
        """Connects, and brings the tables up to date, before anything is asked."""
        self._call(lambda client: None)

    def close(self) -> None:
        """See `Archive`."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _call(self, call: Callable[[Client], _Answer]) -> _Answer:
        try:
            self._check_folder()
            if self._client is None:
                self._client = open_client(self._dsn)
                self._folder_id = _id_of(chdb_folder(self._dsn))
            if not self._migrated:
                migrate(self._client)
                self._migrated = True
            return call(self._client)
        except ArchiveDamaged:
            raise
        except Exception as error:
            self.close()
            self._check_folder()
            if is_retriable(error):
                raise ArchiveUnavailable(f"{type(error).__name__}: {error}") from error
            raise

    def _check_folder(self) -> None:
        """chDB writes on where its folder was, or makes parts of it again, and says nothing."""
        if self._folder_id is not None and _id_of(folder := chdb_folder(self._dsn)) != self._folder_id:
            raise ArchiveDamaged(
                f"The archive's folder {folder} was deleted or moved while the worker used it.",
                "put it back, or delete what is there now, and start the archive worker again: it writes what"
                " is missing anew from the ledger.",
            )

    def _append(self, client: Client, insert: Insert, mark: Mark) -> Mark:
        settings = {**INSERT_SETTINGS, "insert_deduplication_token": insert.token}
        for deduplicate in ("enable", "disable"):
            client.raw_insert(
                TABLE,
                insert.columns,
                insert.body,
                {**settings, "deduplicate_insert": deduplicate},
                fmt="ArrowStream",
            )
            reached = self._high_water(client, insert.shard, mark)
            if reached.seq >= insert.last_seq:
                return reached
            # Answered, and not there: the token is still known, but its rows were deleted since (a repair).
        raise ArchiveDamaged(
            f"ClickHouse confirmed run {insert.token} without having its rows.",
            "look into the server's log for failing disks or a restore, then start the worker again.",
        )

    def _high_water(self, client: Client, shard: int, verified: Mark) -> Mark:
        answer = client.query(_HIGH_WATER, {"shard": shard, "above": verified.seq})
        blocks, first, last, block_hash, ledger_offset, broken, first_broken = answer.result_rows[0]
        if blocks == 0:
            return verified
        if broken:
            raise self._damaged(shard, first_broken, f"lacks rows of block {first_broken}")
        if blocks != last - verified.seq:
            finding = f"has {blocks} blocks from {first} to {last}: some are missing"
            raise self._damaged(shard, verified.seq + 1, finding)
        return Mark(last, bytes(block_hash), ledger_offset)

    def _damaged(self, shard: int, from_seq: int, finding: str) -> ArchiveDamaged:
        folder = chdb_folder(self._dsn)
        where = f"shard = {shard} AND seq >= {from_seq}"
        repair = f"DELETE FROM {TABLE} WHERE {where}" if folder is None else f"rm -r '{folder}'"  # noqa: S608
        return ArchiveDamaged(
            f"The archive of shard {shard} {finding}.",
            "find out who deleted them; then delete what follows as well and start the archive worker, which "
            f"writes it anew from the ledger: {repair}",
        )


def _id_of(folder: Path | None) -> tuple[int, int] | None:
    """Tells a folder from another one in its place; None where there is none."""
    try:
        found = folder.stat() if folder else None
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino) if found else None
