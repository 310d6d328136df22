"""`--hostile`: a fourth app, which keeps no rule, beside the three; and what became of each of its records.

It sends in a thread of its own while the three report: batches that are none, offsets that lie, bombs, floods
of tiny records within the default quota, records that name other apps, operations that no app has. None of
it may be worth a point or change a figure of the three. Each offset that the broker gave it must have one
verdict.
"""

import asyncio
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException
from confluent_kafka import TopicPartition as Partition

from loadtest.demo.figures import Difference
from loadtest.hostile import kinds
from loadtest.hostile.batches import Batch, zipped
from loadtest.hostile.sender import Sender
from schemas.kinds.app import App
from schemas.outcome import Outcome
from schemas.topics import outcomes_topic
from sinks.app_client.standing import decode_outcome
from stream.errors import OperatorError
from stream.operate.platform.onboarding import app_principal
from stream.settings import Settings

ROGUE = App("rogue", "illustrative app that keeps no rule", ["SZ-METRO"], ["metro-gate"])
ROUNDS_MAX = 8
PAUSE_S = 2.0  # between two rounds
TINY_RECORDS = 20_000  # of one flood; eight of them take the worker some seconds
RUBBISH_RECORDS = 1_000
ANSWERS_TIMEOUT_S = 120.0
_OPERATIONS = ("transfer", "trade", "bonus", "credit", "debit", "expiry", "write_off", "clock", "app")


class Span(NamedTuple):
    """Offsets of one partition that the broker acknowledged, the last one included."""

    partition: int
    first: int
    last: int


class Account(NamedTuple):
    """What became of its records: by verdict the outcomes, and the offsets that they tell of. Of the
    acknowledged offsets, how many have no verdict, and how many have several."""

    acknowledged: int
    refused_batches: int  # by the broker
    outcomes: Counter[str]
    offsets: Counter[str]
    without: int
    more_than_one: int


class Rogue(threading.Thread):
    """Sends from `start` to `stop`, at least one round."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="rogue", daemon=True)
        self.settings = settings
        self._stopping = threading.Event()
        self._error: Exception | None = None
        self.spans: list[Span] = []
        self.refused_batches = 0

    def run(self) -> None:
        """Rounds with pauses between them."""
        try:
            asyncio.run(self._rounds())
        except Exception as error:  # told to whoever waits for the end
            self._error = error

    def stop(self) -> None:
        """Ends it after the round that it is in. Raises what ended it before."""
        self._stopping.set()
        if self.ident is not None:
            self.join()
        if self._error:
            raise self._error

    async def _rounds(self) -> None:
        async with Sender(self.settings, ROGUE.id) as sender:
            for number in range(ROUNDS_MAX):
                for place, batch in enumerate(_round(number)):
                    partition = place % self.settings.shards
                    first = await sender.send(partition, batch)
                    if first is None:
                        self.refused_batches += 1
                    else:
                        self.spans.append(Span(partition, first, first + batch.offsets - 1))
                if await asyncio.to_thread(self._stopping.wait, PAUSE_S):
                    return


def _round(number: int) -> Iterator[Batch]:
    """What is sent in one round; all of it is another one's in the next."""
    yield from kinds.unreadable().values()
    yield from kinds.refused_by_broker().values()
    yield from kinds.strange().values()
    yield kinds.tiny(TINY_RECORDS)
    reports = [_report(f"{number}-{i}") for i in range(100)]
    yield kinds.rubbish([_bytes(report) for report in reports], RUBBISH_RECORDS)
    yield kinds.large([_bytes(report | {"version": 2}) for report in reports])
    yield zipped([_bytes(report | {"app": app}) for app in ("metro", "bus") for report in reports])
    yield zipped([_bytes(report | {"kind": kind}) for kind in _OPERATIONS for report in reports[:10]])
    yield zipped([_bytes(report | {"methodology": "SZ-BUS-BEV"}) for report in reports])


def _report(name: str) -> dict:
    return {
        "version": 1,
        "kind": "report",
        "uid": hashlib.sha256(name.encode()).hexdigest()[:32],
        "report_id": f"20240907-rogue-{name}",
        "methodology": "SZ-METRO",
        "occurred_at": "2024-09-07T08:00:00+08:00",
        "activity": {"distance_m": 80_000},
        "source_txn": f"rogue-{name}",
    }


def _bytes(fields: dict) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def account_of(spans: Iterable[Span], outcomes: Iterable[Outcome], refused_batches: int = 0) -> Account:
    """How many verdicts each acknowledged offset has. Of an outcome that came twice one counts."""
    acknowledged = list(spans)
    ends = Counter[int]()
    for span in acknowledged:
        ends[span.partition] = max(ends[span.partition], span.last + 1)
    is_mine = {partition: np.zeros(end, bool) for partition, end in ends.items()}
    verdicts = {partition: np.zeros(end, np.int32) for partition, end in ends.items()}
    for span in acknowledged:
        is_mine[span.partition][span.first : span.last + 1] = True
    told: Counter[str] = Counter()
    offsets: Counter[str] = Counter()
    for o in {(o.shard, o.seq, o.row): o for o in outcomes}.values():
        told[o.verdict] += 1
        offsets[o.verdict] += o.last_offset - o.offset + 1
        if o.partition in verdicts:
            verdicts[o.partition][o.offset : o.last_offset + 1] += 1
    counts = np.concatenate([verdicts[p][is_mine[p]] for p in ends] or [np.zeros(0, np.int32)])
    return Account(
        len(counts),
        refused_batches,
        told,
        offsets,
        int((counts == 0).sum()),
        int((counts > 1).sum()),
    )


def differences(account: Account, ledger: Counter[str]) -> list[Difference]:
    """What may not be: an offset without a verdict or with two, or a ledger that tells something else."""
    found = [
        Difference(f"offsets of {ROGUE.id} {what}", {"outcomes": count})
        for what, count in (("without a verdict", account.without), ("with several", account.more_than_one))
        if count
    ]
    for verdict in sorted(ledger.keys() | account.offsets.keys()):
        said = {"ledger": ledger[verdict], "outcomes": account.offsets[verdict]}
        if len(set(said.values())) > 1:
            found.append(Difference(f"offsets of {ROGUE.id} {verdict}", said))
    return found


def read_outcomes(settings: Settings, spans: list[Span], check: Callable[[], None]) -> list[Outcome]:
    """The rogue's outcomes, up to the last of its acknowledged offsets. Raises OperatorError if one stays
    away for too long. `check`: looks after the workers meanwhile."""
    user = app_principal(ROGUE.id)
    consumer = Consumer(settings.librdkafka(user) | {"group.id": user, "enable.auto.commit": False})
    topic = outcomes_topic(ROGUE.id)
    consumer.assign([Partition(topic, shard, OFFSET_BEGINNING) for shard in range(settings.shards)])
    due = {span.partition: span.last for span in spans}
    outcomes: list[Outcome] = []
    last_s = time.monotonic()
    try:
        while due:
            check()
            for message in consumer.consume(10_000, 0.5):
                if message.error():
                    raise KafkaException(message.error())
                outcomes.append(decode_outcome(message.value() or b""))
                last_s = time.monotonic()
                o = outcomes[-1]
                if o.last_offset >= due.get(o.partition, o.last_offset + 1):
                    del due[o.partition]
            if time.monotonic() - last_s > ANSWERS_TIMEOUT_S:
                raise OperatorError(
                    f"{ROGUE.id} has had no outcome for {ANSWERS_TIMEOUT_S:.0f} s, and lacks that of {due}.",
                    "look at logs/intake.log in the data folder: the worker says there why it waits.",
                )
    finally:
        consumer.close()
    return outcomes
