"""The demo's own reading of the ledger: follows every shard's chain from its genesis and adds up its rows."""

import time
from collections import Counter
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from loadtest.demo.figures import Figures, Summing
from loadtest.demo.reports import APPS
from schemas.block import Block, open_block
from schemas.ledger_record import read_record
from schemas.limits import BLOCK_BYTES_MAX
from schemas.report import date_of_day
from schemas.state import ZERO_HASH
from schemas.topics import COMMANDS, LEDGER, app_of
from schemas.verdicts import CODES
from sinks.app_client.topics import place_of
from stream.errors import OperatorError
from stream.settings import Settings

POLL_S = 0.2


class Answer(NamedTuple):
    """What became of a command in one shard."""

    verdict: str
    detail: str


class LedgerAudit:
    """`seqs` and `answers` grow with every `poll`; a block counts only if its `prev` is the head's hash.

    Summed are the rows of the demo's own apps; of any other app `others` counts offsets by verdict.
    """

    def __init__(self, settings: Settings) -> None:
        self._consumer = Consumer(
            settings.librdkafka("admin")
            | {
                "group.id": "demo-audit",
                "enable.auto.commit": False,
                "max.partition.fetch.bytes": BLOCK_BYTES_MAX,
            }
        )
        self._partitions = [TopicPartition(LEDGER, p, OFFSET_BEGINNING) for p in range(settings.shards)]
        self._consumer.assign(self._partitions)
        self._heads = dict.fromkeys(range(settings.shards), ZERO_HASH)
        self._next = dict.fromkeys(range(settings.shards), 0)
        self._sums = Summing()
        self.seqs: dict[int, int] = {}
        self.others: Counter[str] = Counter()
        self.answers: dict[tuple[int, int], Answer] = {}  # by partition and offset of the command

    def poll(self, timeout_s: float = POLL_S) -> None:
        """Takes what has come; waits for it at most this long."""
        for message in self._consumer.consume(100, timeout_s):
            if message.error():
                raise KafkaException(message.error())
            headers: Any = message.headers() or []  # pairs, as they are read; a dict is for who writes
            record = read_record(message.value(), headers)
            shard, offset = place_of(message)
            self._next[shard] = offset + 1
            if record.follows(self._heads[shard]):
                block = open_block(record)
                self._heads[shard] = block.hash
                self.seqs[shard] = block.meta.seq
                self._add(block)

    def read_to_end(self, timeout_s: float) -> Figures:
        """The sums of the whole ledger as it stands now."""
        deadline_s = time.monotonic() + timeout_s
        ends = {
            tp.partition: self._consumer.get_watermark_offsets(tp, timeout=timeout_s)[1]
            for tp in self._partitions
        }
        while any(self._next[shard] < end for shard, end in ends.items()):
            if time.monotonic() > deadline_s:
                raise OperatorError(
                    f"The ledger was not read to its end within {timeout_s:.0f} s.",
                    "look at Kafka's log in the data folder, then run the demo again.",
                )
            self.poll()
        return self._sums.figures()

    def close(self) -> None:
        """Leaves the broker."""
        self._consumer.close()

    def _add(self, block: Block) -> None:
        topics = [span.topic for span in block.meta.sources]
        dates: dict[int, str] = {}
        for row in zip(*(block.rows.column(name).to_pylist() for name in _COLUMNS), strict=True):
            source, offset, last_offset, code, uid, expiry_day, reduction_mg, points_milli, detail = row
            topic = topics[source] if source >= 0 else ""
            if topic == COMMANDS:
                self.answers[block.meta.shard, offset] = Answer(CODES[code], detail)
            elif topic and app_of(topic) not in APPS:
                self.others[CODES[code]] += last_offset - offset + 1
            elif topic:
                day = dates.get(expiry_day) or dates.setdefault(
                    expiry_day, date_of_day(expiry_day).isoformat()
                )
                self._sums.add(app_of(topic), CODES[code], uid, day, reduction_mg, points_milli)


_COLUMNS = (
    "source",
    "offset",
    "last_offset",
    "verdict",
    "uid",
    "expiry_day",
    "reduction_mg",
    "points_milli",
    "detail",
)
