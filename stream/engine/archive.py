"""The archive worker: ledger -> ClickHouse, every row exactly once, in order.

ClickHouse itself says how far it has got. A shard is placed after its mark was read and checked; its blocks
are cut into runs (archive_run.py, which also argues why this is exact); one task writes the runs, one after
the other. While ClickHouse is down the runs wait, and beyond HELD_BYTES_MAX no more is fetched.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from faust.types.tuples import TP

from schemas.block import RELEASE, BlockError, NewerFormat
from schemas.ledger_record import read_record
from schemas.limits import MIB
from schemas.topics import LEDGER
from sinks.clickhouse.errors import ArchiveDamaged, ArchiveUnavailable
from sinks.clickhouse.run import Archive, Mark, Run
from stream.batches.fetch import Fetch
from stream.engine.archive_run import ChainBroken, RunCutter
from stream.engine.transport import BatchConsumer
from stream.errors import OperatorError, end_process
from stream.telemetry.archive import ArchiveMetrics, Progress, WatchedArchive

log = structlog.get_logger()
IDLE_S = 0.4  # without a block, before the open run is flushed; an insert takes 0.1: there within 1 s
HELD_BYTES_MAX = 256 * MIB  # of rows in memory, in open and waiting runs: 1 million usual rows
CALL_END_TIMEOUT_S = 5.0  # at a rebalance the running insert may end; the broker waits 10 s for us to rejoin
RETRY_DELAYS_S = (0.1, 0.5, 2.0, 5.0, 15.0)
_RESTART = "start the archive worker again: it writes what is missing anew from the ledger."


class _Shard:
    """A placed shard: what is archived, what is taken, and when it was last heard of."""

    def __init__(self, number: int, mark: Mark) -> None:
        self.mark = mark
        self.cutter = RunCutter(number, mark)
        self.next = self.cutter.start  # the ledger offset with which the next batch must begin
        self.idle: asyncio.TimerHandle | None = None


class ArchiveHandler:
    """`transport.Handler` that archives the topic `ledger`. `thread` has one worker, which alone calls
    ClickHouse: chDB wants it so, and calls then happen in the order in which they were made."""

    def __init__(
        self,
        archive: Archive,
        thread: ThreadPoolExecutor,
        fail: Callable[[BaseException], Any] = end_process,
    ) -> None:
        self.metrics = ArchiveMetrics(self.progress)
        self._archive, self._thread, self._fail = WatchedArchive(archive, self.metrics), thread, fail
        self._shards: dict[int, _Shard] = {}
        self._doubted: set[int] = set()  # shards whose mark must be read again before anything is written
        self._runs: deque[Run] = deque()
        self._runs_bytes = 0
        self._arrived = asyncio.Event()
        self._task: asyncio.Task | None = None
        self._seek: asyncio.Future | None = None
        self._consumer: BatchConsumer  # from the first assignment on

    topics = (LEDGER,)
    packed = False

    def wants(self, tp: TP) -> bool:
        return tp.partition in self._shards and self._held_bytes() < HELD_BYTES_MAX

    def position(self, tp: TP) -> int | None:
        shard = self._shards.get(tp.partition)
        return shard.mark.ledger_offset + 1 if shard else None

    def progress(self, number: int) -> Progress | None:
        """How far a shard is; None if it is not placed."""
        shard = self._shards.get(number)
        if shard is None:
            return None
        held_bytes = shard.cutter.nbytes + sum(run.nbytes for run in self._runs if run.shard == number)
        archived = shard.mark.ledger_offset + 1
        return Progress(shard.mark, archived if held_bytes else max(archived, shard.next), held_bytes)

    async def assigned(self, tps: set[TP], consumer: BatchConsumer) -> None:
        await self.revoked(tps)
        self._consumer = consumer
        self.metrics.assigned({tp.partition for tp in tps}, consumer)
        self._task = asyncio.ensure_future(self._run(sorted(tp.partition for tp in tps)))

    async def revoked(self, tps: set[TP]) -> None:
        """Forgets everything, once the running insert has ended: the marks tell where to go on."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        for shard in self._shards.values():
            if shard.idle:
                shard.idle.cancel()
        self._shards.clear()
        self._runs.clear()
        self._runs_bytes = 0
        await asyncio.wait([asyncio.ensure_future(self._call(lambda: None))], timeout=CALL_END_TIMEOUT_S)

    async def stop(self) -> None:
        await self.revoked(set())
        await self._call(self._archive.close)

    def stop_source(self, tp: TP, offset: int, reason: str, what: str) -> None:
        shard = self._shards.get(tp.partition)
        if shard is None:
            return  # its mark is being read; it is placed after that
        if offset != shard.next:
            self._seek_to(tp, shard.next)
            return
        self._fail(
            OperatorError(
                f"{tp.topic}/{tp.partition}: {what}.",
                "restore topic `ledger` from a replica; see docs/runbook.md, ledger shorter than Redis.",
            )
        )

    def take(self, fetch: Fetch) -> None:
        shard = self._shards.get(fetch.partition)
        if shard is None:
            return  # its mark is being read; it is placed after that
        if fetch.first != shard.next:
            log.warning("a delivery was lost on its way: fetching it again", shard=fetch.partition)
            self._seek_to(TP(fetch.topic, fetch.partition), shard.next)
            return
        ignored = shard.cutter.ignored
        try:
            for record in fetch.records:
                self._enqueue(shard.cutter.push(read_record(record.value, record.headers), record.offset))
        except (BlockError, ChainBroken) as error:
            self._fail(_broken(fetch.partition, error))
            return
        except NewerFormat as error:
            self._fail(_newer(fetch.partition, error))
            return
        shard.next = fetch.next
        self.metrics.delivered(fetch, shard.cutter.ignored - ignored)
        self._relieve()
        self._flush_when_idle(shard)

    def _seek_to(self, tp: TP, offset: int) -> None:
        self._seek = asyncio.ensure_future(self._consumer.seek_to({tp: offset}))

    async def _run(self, numbers: list[int]) -> None:
        try:
            for number in numbers:
                await self._place(number)
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._runs:
                    await self._write(self._runs[0])
                    self._runs_bytes -= self._runs.popleft().nbytes
                    self._relieve()
        except ArchiveDamaged as error:
            self._fail(OperatorError(error.message, error.todo))
        except Exception as error:
            self._fail(error)

    async def _place(self, number: int) -> None:
        shard = _Shard(number, await self._read_mark(number))
        end = await self._ledger_end(number)
        if end < shard.next:  # or it would wait there in silence, and take the records of then for the next
            raise OperatorError(
                f"Shard {number}: the ledger ends at {end}, but the archive has seen {shard.next}: the ledger"
                " lost records.",
                "see docs/runbook.md, ledger shorter than the archive.",
            )
        self._shards[number] = shard
        self.metrics.placed(number, shard.next)
        log.info("shard ready", shard=number, seq=shard.mark.seq, ledger_offset=shard.next)
        await self._consumer.seek_to({TP(LEDGER, number): shard.next})

    async def _ledger_end(self, number: int) -> int:
        """Where the shard's ledger ends; waits for Kafka as long as it takes."""
        failures, tp = 0, TP(LEDGER, number)
        while True:
            try:
                return (await self._consumer.ends_of([tp]))[tp]
            except (KafkaError, TimeoutError) as error:
                log.warning("Kafka does not say where the ledger ends", shard=number, why=repr(error))
                await asyncio.sleep(RETRY_DELAYS_S[min(failures, len(RETRY_DELAYS_S) - 1)])
                failures += 1

    async def _write(self, run: Run) -> None:
        """Returns when the run is archived, whoever did it."""
        shard = self._shards[run.shard]
        failures = 0
        while rest := _rest(run, shard.mark):
            try:
                if run.shard in self._doubted:
                    shard.mark = await self._read_mark(run.shard)
                else:
                    shard.mark = await self._call(self._archive.append, rest, shard.mark)
            except ArchiveUnavailable as error:
                await self._pause(run.shard, failures, error)
                failures += 1
        log.debug("archived", shard=run.shard, first=run.first_seq, last=run.last_seq, rows=run.rows)

    async def _read_mark(self, number: int) -> Mark:
        """The shard's mark, the whole shard checked; waits for ClickHouse as long as it takes."""
        failures = 0
        while True:
            try:
                mark = await self._call(self._archive.high_water, number)
            except ArchiveUnavailable as error:
                await self._pause(number, failures, error)
                failures += 1
            else:
                self._doubted.discard(number)
                return mark

    async def _pause(self, number: int, failures: int, error: ArchiveUnavailable) -> None:
        # A server that was away may have come back without what it had confirmed, of any shard: found by the
        # simulation, where the next insert of another shard left a gap behind it.
        self._doubted = set(self._shards)
        delay_s = RETRY_DELAYS_S[min(failures, len(RETRY_DELAYS_S) - 1)]
        waiting = len(self._runs)
        log.warning("ClickHouse is away", shard=number, delay_s=delay_s, runs_waiting=waiting, why=str(error))
        await asyncio.sleep(delay_s)

    def _call(self, call: Callable, *arguments: Any) -> asyncio.Future:
        return asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *arguments))

    def _held_bytes(self) -> int:
        return self._runs_bytes + sum(shard.cutter.nbytes for shard in self._shards.values())

    def _enqueue(self, runs: list[Run]) -> None:
        for run in runs:
            self._runs.append(run)
            self._runs_bytes += run.nbytes
            self._arrived.set()

    def _flush(self, shard: _Shard) -> None:
        run = shard.cutter.flush()
        self._enqueue([run] if run else [])

    def _relieve(self) -> None:
        """If memory is full of open runs alone, nothing would ever be written: ends the largest."""
        if not self._runs and self._held_bytes() >= HELD_BYTES_MAX:
            self._flush(max(self._shards.values(), key=lambda shard: shard.cutter.nbytes))

    def _flush_when_idle(self, shard: _Shard) -> None:
        if shard.idle:
            shard.idle.cancel()
        shard.idle = asyncio.get_running_loop().call_later(IDLE_S, self._idle, shard)

    def _idle(self, shard: _Shard) -> None:
        waiting = any(run.shard == shard.cutter.shard for run in self._runs)
        if waiting or self._held_bytes() >= HELD_BYTES_MAX:
            # Quiet because we do not fetch, or behind other runs: a flush would only make runs small.
            self._flush_when_idle(shard)
        else:
            self._flush(shard)


def _rest(run: Run, mark: Mark) -> Run | None:
    """What of `run` is still to be written, now that the archive ends at `mark`."""
    if mark.seq < run.first_seq - 1:
        raise OperatorError(
            f"The archive of shard {run.shard} had block {run.first_seq - 1}, and now ends at {mark.seq}: "
            "ClickHouse lost rows or was restored.",
            _RESTART,
        )
    for block, _ in run.blocks:
        if block.meta.seq == mark.seq and block.hash != mark.block_hash:
            raise _broken(run.shard, ChainBroken(f"the archive has another block {mark.seq} than the ledger"))
    return run.after(mark)


def _newer(shard: int, error: NewerFormat) -> OperatorError:
    return OperatorError(
        f"Shard {shard}: the ledger holds format {error.format}, written by release {error.release};"
        f" this is release {RELEASE}.",
        f"start the archive worker of release {error.release} or a later one: the ledger waits;"
        " see docs/runbook.md, a newer format.",
    )


def _broken(shard: int, error: Exception) -> OperatorError:
    return OperatorError(
        f"Shard {shard}: {error}.",
        "see that the worker reads the Kafka and writes the ClickHouse of one platform. If topic `ledger` is "
        "the right one and whole, move the archive (the database, or the folder of chDB) away and start the "
        "worker again: it writes everything anew. If the ledger lost records, stop all workers, restore it.",
    )
