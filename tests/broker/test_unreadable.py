"""Whatever the broker takes from an app is decided: batches that nobody can read, sent between good reports
with the app's own credentials. Nobody loses a point by them, and no worker its life."""

import asyncio
import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as ConfluentPartition

from schemas.limits import MIB, UNPACKED_BYTES_MAX, UNPACKED_KEPT_BYTES_MAX
from schemas.report import SHANGHAI
from schemas.topics import intake_topic, outcomes_topic
from schemas.verdicts import CODES
from stream.batches.reader import Unreadable, batches_of, values_of
from tests.batches.making import CONTROL, Made, fetch, records
from tests.broker.conftest import Platform
from tests.broker.raw_batches import client_of, fuzzed, hand_made, send
from tests.making import record, uids

pytestmark = [pytest.mark.stack, pytest.mark.timeout(280)]
TAKEN = 500
METRO = intake_topic("metro")
GOOD = "good, between the others"
Place = tuple[int, int]  # shard and offset
# Above a worker that has decided something: what may be unpacked at once, what each shard may keep of it, and
# as much again for the rows, objects and messages that are made of it.
GROWTH_BYTES_MAX = 2 * (UNPACKED_BYTES_MAX + 4 * UNPACKED_KEPT_BYTES_MAX) + 64 * MIB


def good_ones(shard: int) -> Iterator[Made]:
    """Batches of one report each, every one of another person."""
    at = dt.datetime.now(SHANGHAI) - dt.timedelta(seconds=30)
    for number, uid in enumerate(uids(shard, TAKEN)):
        yield Made(records([record(f"{shard}-{number}", at, uid=uid)]), 1)


def is_unreadable(batch: Made) -> bool:
    if batch.attributes & CONTROL:
        return False  # the broker takes none from an app
    return any(isinstance(values_of(b), Unreadable) for b in batches_of(fetch(batch.fetched())))


async def send_all(platform: Platform) -> dict[str, list[tuple[int, int, int]]]:
    """Batches of every kind that the broker takes, in turn to each shard, and a good one behind each.

    The spans (shard, first, next) by kind; GOOD are those between.
    """
    client = await client_of(platform.settings, "metro")
    shards, taken, spans = platform.settings.shards, 0, {GOOD: []}
    good = [good_ones(shard) for shard in range(shards)]
    unreadable = ((kind, batch) for kind, batch in fuzzed(seed=11) if is_unreadable(batch))
    for kind, batch in chain(hand_made(), unreadable):
        source = TopicPartition(METRO, taken % shards)
        if (span := await send(client, source, batch)) is None:
            continue
        spans.setdefault(kind, []).append((source.partition, *span))
        span = await send(client, source, next(good[source.partition]))
        assert span, "a good batch was refused"
        spans[GOOD].append((source.partition, *span))
        taken += 1
        if taken == TAKEN:
            break
    await client.close()
    return spans


def rows_of(platform: Platform) -> list[tuple[Place, str]]:
    """The verdict on each offset that a row covers."""
    found = []
    for block in platform.accepted():
        topics = [span.topic for span in block.meta.sources]
        for row in block.rows.select(["source", "verdict", "offset", "last_offset"]).to_pylist():
            if row["source"] >= 0 and topics[row["source"]] == METRO:
                offsets = range(row["offset"], row["last_offset"] + 1)
                found += [((block.meta.shard, offset), CODES[row["verdict"]]) for offset in offsets]
    return found


def told(platform: Platform, due: int) -> list[tuple[Place, str]]:
    """The verdict on each offset, as the app is told it."""
    config = platform.settings.librdkafka("app-metro") | {
        "group.id": "app-metro",
        "enable.auto.commit": False,
    }
    consumer = Consumer(config)
    topic, shards = outcomes_topic("metro"), range(platform.settings.shards)
    consumer.assign([ConfluentPartition(topic, shard, 0) for shard in shards])
    found: list[tuple[Place, str]] = []
    while len(found) < due:
        messages = consumer.consume(10_000, 20)
        assert messages, f"{due - len(found)} outcomes do not come"
        for message in messages:
            assert not message.error(), message.error()
            outcome = json.loads(message.value())
            offsets = range(outcome["offset"], outcome["last_offset"] + 1)
            found += [((outcome["partition"], offset), outcome["verdict"]) for offset in offsets]
    consumer.close()
    return found


def memory_bytes(pid: int, which: str) -> int:
    """`VmRSS` is what a process has now, `VmHWM` the most that it ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{which}:\s+(\d+) kB", status, re.MULTILINE).group(1)) << 10


def test_every_offset_has_one_row_and_one_outcome_every_good_report_its_points_and_the_worker_lives(
    platform: Platform,
) -> None:
    worker = platform.worker()
    platform.wait_for(lambda: platform.logs().count("shard ready") == platform.settings.shards)
    before_bytes = memory_bytes(worker.pid, "VmRSS")
    spans = asyncio.run(send_all(platform))
    due = Counter(
        (shard, o) for kind in spans.values() for shard, first, end in kind for o in range(first, end)
    )
    for shard in range(platform.settings.shards):
        offsets = sorted(offset for at, offset in due if at == shard)
        assert offsets == list(range(len(offsets))), "not each offset of the log was sent by this test"
    answers = told(platform, due.total())

    rows = rows_of(platform)
    assert Counter(place for place, _ in rows) == due
    assert Counter(answers) == Counter(rows)
    verdicts = dict(rows)
    good = {(shard, first) for shard, first, _ in spans[GOOD]}
    assert len(good) == TAKEN
    assert {verdicts[place] for place in good} == {"credited"}
    counts = Counter(verdicts[span[:2]] for kind, sent in spans.items() if kind != GOOD for span in sent)
    assert counts["unreadable_batch"] > TAKEN // 2, counts
    assert "internal_error" not in verdicts.values()
    assert worker.poll() is None
    assert platform.logs().count("shard ready") == platform.settings.shards, "a shard was recovered"
    grown_bytes = memory_bytes(worker.pid, "VmHWM") - before_bytes
    print(f"{len(due)} offsets, {len(spans)} kinds, batches: {counts}; grown by {grown_bytes / MIB:.0f} MiB")
    assert grown_bytes < GROWTH_BYTES_MAX
