"""READ THIS FIRST: one cycle of one shard, from fetched records to published outcomes.

A shard is one partition of every topic: one order, one ledger partition, one Redis slot, one worker. The
ledger is the truth and the compare-and-set: a block counts if and only if its `prev` is the hash of the block
before it, for every reader; Redis is a projection of it, which any worker can make again.
"""

import asyncio
import time

from schemas.block import RELEASE, Block, open_block
from schemas.formats import NEWEST
from schemas.kinds.adopt import AdoptCommand
from schemas.kinds.format import FormatCommand
from schemas.limits import BROKER_AHEAD_MS_MAX, ROWS_SHARE
from schemas.outcome import messages_of
from schemas.report import shanghai_day
from schemas.state import Change, Head, Lag, Person, Source
from schemas.topics import COMMANDS, intake_topic
from sinks.ports import Doubt, Ledger, Publisher, Store, Topics, known
from stream.core.apply import apply
from stream.core.cycle_input import Buffer, Cycle
from stream.core.pending import continues
from stream.core.platform import Platform
from stream.core.read import Reading, read_records
from stream.engine.bisect import decide_each
from stream.errors import OperatorError

NOT_ADOPTED = (
    "topic commands was made again, or lost records unread, and does not begin with its adoption:"
    " run `points topics adopt commands`"
)
# How often a live worker reads back what it wrote, for 1 us a row of a full block; tests do it each time.
READ_BACK_EVERY_BLOCKS = 64


class Shard:
    """One shard in the hands of this worker, between a recovery and the next doubt."""

    def __init__(self, shard: int, platform: Platform, head: Head, ledger_end: int) -> None:
        self.number = shard
        self.platform = platform
        self.head = head
        self.ledger_end = ledger_end  # one after the last ledger record that this worker has read or written
        self.published_to = head.published_to
        self.unread: dict[str, Source] = {}  # sources that are not read from where they stand
        self.misplaced = True  # whether the sources must be placed, or placed anew
        self.lags = dict(head.lags)
        self.look_again_s = 0.0  # when to look at its topics again
        self.ignored_records = 0  # of the ledger, met by the recovery, which do not count
        self.buffer = Buffer(shard, {}, platform.fair_rows_s)
        self.publishing: asyncio.Task | None = None

    def open_buffer(self, sources: dict[str, Source], ends: dict[str, int]) -> None:
        """Takes records of these sources from where they stand; `ends`: up to where they are known to be."""
        self.buffer = Buffer(self.number, sources, self.platform.fair_rows_s, ends)
        self.learn_quotas()

    def learn_quotas(self) -> None:
        """Each app's share of its quota of rows, as the registry has it now."""
        for app in self.head.apps.values():
            self.buffer.limit(intake_topic(app.id), app.rows_per_day * ROWS_SHARE // self.platform.shards)


async def run_cycle(shard: Shard, store: Store, ledger: Ledger, publisher: Publisher, topics: Topics) -> bool:
    """Read, decide, append, apply, publish: the whole flow. False if nothing may be decided yet.

    Raises `Doubt` where an effect is not known or another worker was faster; the caller then recovers the
    shard from the ledger. Nothing has to be undone, whichever line it was.
    """
    cycle = shard.buffer.take(shard.head, today())
    if cycle is None:
        return False
    _check_broker_clock(cycle)
    # Asked after the last fetch: whoever answers with the ids that we know has kept these topics until now.
    ids = asyncio.ensure_future(topics.ids([span.topic for span in cycle.sources]))
    ids.add_done_callback(known)
    reading = read_records(cycle, shard.platform.rules, shard.platform.dedupe_key, shard.head.format)
    _check_format(shard.number, reading)
    _check_commands(shard.head, cycle, reading)

    # 1. Read the state, the head first: it must be the one that this worker decided on last.
    before = await store.read(shard.number, reading.uids, reading.members.lookups)
    if before.head_hash != shard.head.hash:
        raise Doubt("Redis has another head: another worker owns this shard, or Redis went back in time")

    # 2. Decide: a pure function of the cycle, the state and the rules.
    published = shard.published_to, dict(shard.lags)
    block = decide_each(shard.platform, shard.head, cycle, reading, before, *published)

    # 3. Append: written only if it came directly after all that this worker has read.
    _check_sources(cycle, await ids)
    offset = await ledger.append(block)
    if offset != shard.ledger_end:
        raise Doubt(f"ledger offset {offset} where {shard.ledger_end} was due: somebody else wrote")
    shard.ledger_end = offset + 1

    # 4. Apply: the projection moves from one head to the next, or not at all.
    change = apply(block, shard.head, before.persons, offset)
    _read_back(block, change, shard.head, before.persons)
    await store.commit(change)
    shard.head = change.head
    if change.registry:
        shard.learn_quotas()

    # 5. Publish, while the next cycle is read; `published_to` travels in a later block.
    await publish_after(shard, publisher, block, offset)
    return True


async def publish_after(shard: Shard, publisher: Publisher, block: Block, offset: int) -> None:
    """Waits for the publication before, then starts this block's. Raises what the one before met."""
    if shard.publishing:
        await shard.publishing

    async def publish() -> None:
        shard.lags |= await publish_block(shard.number, block, offset, shard.lags, publisher)
        shard.published_to = offset + 1

    shard.publishing = asyncio.ensure_future(publish())
    shard.publishing.add_done_callback(known)


async def publish_block(
    shard: int, block: Block, offset: int, lags: dict[str, Lag], publisher: Publisher
) -> dict[str, Lag]:
    """Publishes a block's outcomes, but for apps that wait for their topic; returns those that begin to."""
    messages = {topic: m for topic, m in messages_of(block).items() if topic not in lags}
    return {topic: Lag(offset, block.prev) for topic in await publisher.publish(shard, messages)}


def today() -> int:
    """The Asia/Shanghai day of this machine's clock: of quotas alone, no decision looks at it."""
    return shanghai_day(time.time_ns() // 1_000_000)


def _read_back(block: Block, change: Change, head: Head, persons: dict[str, Person]) -> None:
    """Raises if what the ledger holds would change something else than what is to be committed.

    The process ends then, and nothing was committed: recovery stands on what is written.
    """
    if block.meta.seq % READ_BACK_EVERY_BLOCKS == 0:
        written = apply(open_block(block.record), head, persons, change.head.ledger_next - 1)
        if written != change:
            raise AssertionError(f"block {block.meta.seq}: what is written is not what was decided")


def _check_sources(cycle: Cycle, ids: dict[str, str]) -> None:
    """Raises `Doubt` if what was fetched may be of a topic that was made again under the same name."""
    for span in cycle.sources:
        if ids.get(span.topic) != span.topic_id:
            raise Doubt(f"topic {span.topic} is not the one that it was")


def _check_commands(head: Head, cycle: Cycle, reading: Reading) -> None:
    """`commands` made again, or deleted unread, is read on only if it begins with its own adoption."""
    for span in cycle.sources:
        if span.topic == COMMANDS and not continues(span, head.sources[COMMANDS]):
            said = reading.command
            if not (
                isinstance(said, AdoptCommand) and (said.topic, said.topic_id) == (span.topic, span.topic_id)
            ):
                raise Doubt(NOT_ADOPTED)


def _check_format(shard: int, reading: Reading) -> None:
    """What this release could not write behind it, it does not decide."""
    said = reading.command
    if isinstance(said, FormatCommand) and said.number > NEWEST:
        raise newer_format(shard, to_be_written(said.number, said.release), said.release)


def newer_format(shard: int, what: str, release: str) -> OperatorError:
    """Why this release gives a shard up: `release`, or a later one, knows a format that it does not."""
    return OperatorError(
        f"Shard {shard}: {what}; this is release {RELEASE}.",
        f"start release {release} or a later one: nothing was written by this one;"
        " see docs/runbook.md, a newer format.",
    )


def to_be_written(number: int, release: str) -> str:
    """What a command has said of a format, for `newer_format`."""
    return f"format {number} is to be written from here on, which release {release} can"


def _check_broker_clock(cycle: Cycle) -> None:
    ahead_ms = max(cycle.broker_ms) - time.time_ns() // 1_000_000
    if ahead_ms > BROKER_AHEAD_MS_MAX:
        raise OperatorError(
            f"The broker's timestamps are {ahead_ms / 3_600_000:.1f} hours ahead of this machine's clock.",
            "set both clocks by NTP, then start the worker again: a shard's time never steps back.",
        )
