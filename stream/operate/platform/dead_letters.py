"""Refused records: where they lie, what they were, and how they are decided once more or dismissed.

Topic `dead-letters` has their places for 90 days; the bytes stand in the app's own topic, for 30 days, as
long as it is the topic that it was. Only what is listed there may be replayed: a shard cannot see whether a
record was refused. What was said about them is read back from topic `commands`, kept as long as the bytes.
"""

import re
import time
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.command import read_command
from schemas.formats import NEWEST
from schemas.kinds.dismiss import DismissCommand
from schemas.kinds.replay import ReplayCommand
from schemas.limits import RECORD_BYTES_MAX
from schemas.report import PATTERNS
from schemas.shards import shards_of
from schemas.topics import COMMANDS, DEAD_LETTERS, app_of
from schemas.verdicts import Verdict
from sinks.app_client.standing import decode_outcome
from sinks.app_client.topics import place_of
from sinks.kafka_topics import topic_ids
from stream.core.read import bytes_hash
from stream.errors import OperatorError
from stream.operate.platform import kafka_admin
from stream.operate.platform.commands import Labels
from stream.settings import Settings

ANSWER_TIMEOUT_S = 15.0
FETCH_MAX, POLL_S = 1_000, 0.2  # a poll waits for all of them, or for so long
State = Literal["open", "replayed", "dismissed"]
_uid = re.compile(PATTERNS["uid"])


class Place(NamedTuple):
    """Where a refused record stands: for ever, as a topic that is made again has another id."""

    topic: str
    topic_id: str
    partition: int
    offset: int

    @property
    def short(self) -> str:
        """As the commands take it: APP/PARTITION/OFFSET."""
        return f"{app_of(self.topic)}/{self.partition}/{self.offset}"


class Letter(NamedTuple):
    """A refused record, or a batch of them to `last_offset`; `at_ms`: when its app was told."""

    place: Place
    last_offset: int
    verdict: str
    detail: str
    report_id: str
    at_ms: int


class Settled(NamedTuple):
    """What was said about refused records: single places replayed, ranges dismissed."""

    replayed: set[Place]
    dismissed: list[DismissCommand]

    def state(self, letter: Letter) -> State:
        """Whether something was said about the letter."""
        if letter.place in self.replayed:
            return "replayed"
        topic, topic_id, partition, offset = letter.place
        for d in self.dismissed:
            named = (d.topic, d.topic_id, d.partition) == (topic, topic_id, partition)
            if named and d.first <= offset and letter.last_offset <= d.last:
                return "dismissed"
        return "open"


def letters(settings: Settings, since_ms: int = 0) -> list[Letter]:
    """All that is listed from then on, one for each place: what was said of it last. Raises OperatorError."""
    found: dict[Place, Letter] = {}
    for message in _all_of(settings, DEAD_LETTERS, since_ms):
        o, at_ms = decode_outcome(message.value() or b""), message.timestamp()[1]
        place = Place(o.topic, o.topic_id, o.partition, o.offset)
        if place not in found or found[place].at_ms <= at_ms:
            found[place] = Letter(place, o.last_offset, o.verdict, o.detail, o.report_id, at_ms)
    return sorted(found.values())


def settled(settings: Settings) -> Settled:
    """What was said about refused records in the last 30 days. Raises OperatorError."""
    out = Settled(set(), [])
    for message in _all_of(settings, COMMANDS):
        match read_command(message.value() or b"", NEWEST):
            case ReplayCommand(topic=topic, topic_id=topic_id, partition=partition, offset=offset):
                out.replayed.add(Place(topic, topic_id, partition, offset))
            case DismissCommand() as dismissed:
                out.dismissed.append(dismissed)
    return out


def bytes_of(settings: Settings, places: list[Place]) -> tuple[dict[Place, bytes], dict[Place, str]]:
    """The records at these places, and why the others cannot be had. Raises OperatorError."""
    found: dict[Place, bytes] = {}
    gone: dict[Place, str] = {}
    with kafka_admin.told_to_operator(settings):
        admin = kafka_admin.admin_client(settings)
        topics = sorted({place.topic for place in places})
        there = _of_the_same_topic(places, topic_ids(admin, topics) if topics else {}, gone)
        consumer = _consumer(settings)
        for place in there:
            value = _record_at(consumer, place)
            if value is None:
                gone[place] = "is gone: a topic keeps its records for 30 days"
            else:
                found[place] = value
        consumer.close()
        # Asked after the reading: whoever still has this id had these bytes.
        kept = _of_the_same_topic(list(found), topic_ids(admin, topics) if topics else {}, gone)
    return {place: found[place] for place in kept}, gone


def _of_the_same_topic(places: list[Place], ids: dict[str, str], gone: dict[Place, str]) -> list[Place]:
    gone |= {p: "is gone: its topic was made again" for p in places if ids.get(p.topic) != p.topic_id}
    return [place for place in places if place not in gone]


def replay_of(place: Place, value: bytes, key: bytes, said: Labels, shards: int) -> tuple[int, ReplayCommand]:
    """The command, and its shard: the person's, or where the record stands if it names nobody."""
    uid = _uid_in(value)
    shard = shards_of([uid], shards)[0] if uid else place.partition
    return shard, ReplayCommand(**place._asdict(), value=value, hash=bytes_hash(value, key), **said)


class _Uid(msgspec.Struct):
    uid: str


def _uid_in(value: bytes) -> str:
    try:
        uid = msgspec.json.decode(value, type=_Uid).uid
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return uid if _uid.fullmatch(uid) else ""


def dismissals(chosen: list[Letter], said: Labels) -> list[tuple[int, DismissCommand]]:
    """One command for each run of offsets without a gap, for the shard where they stand."""
    runs: list[list] = []
    for letter in sorted(chosen):
        *source, offset = letter.place
        if runs and runs[-1][0] == source and runs[-1][2] + 1 == offset:
            runs[-1][2] = letter.last_offset
        else:
            runs.append([source, offset, letter.last_offset])
    return [
        (partition, DismissCommand(
            topic=topic, topic_id=topic_id, partition=partition, first=first, last=last, **said
        ))
        for (topic, topic_id, partition), first, last in runs
    ]  # fmt: skip


def why_not(letter: Letter) -> str:
    """Why a letter can never be replayed; '' if it can."""
    if letter.verdict == Verdict.UNREADABLE_BATCH.code:
        return "is a batch that nobody can read: its app sends the records again"
    if letter.verdict == Verdict.TOO_LARGE.code:
        return f"is larger than {RECORD_BYTES_MAX} bytes, and would be refused again"
    return ""


def _record_at(consumer: Consumer, place: Place) -> bytes | None:
    consumer.assign([TopicPartition(place.topic, place.partition, place.offset)])
    message = consumer.poll(ANSWER_TIMEOUT_S)
    if message is None or message.error() or message.offset() != place.offset:
        return None
    return message.value() or b""


def _all_of(settings: Settings, topic: str, since_ms: int = 0) -> Iterator[Message]:
    """What a topic holds now, from then on."""
    consumer = _consumer(settings)
    try:
        with kafka_admin.told_to_operator(settings):
            starts = [TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(settings.shards)]
            if since_ms:
                wanted = [TopicPartition(topic, p, since_ms) for p in range(settings.shards)]
                starts = consumer.offsets_for_times(wanted, timeout=ANSWER_TIMEOUT_S)
            consumer.assign(starts)
            ended: set[int] = set()
            heard_s = time.monotonic()
            while len(ended) < len(starts):
                if polled := consumer.consume(FETCH_MAX, POLL_S):
                    heard_s = time.monotonic()
                    yield from _messages(polled, ended)
                elif time.monotonic() > heard_s + ANSWER_TIMEOUT_S:
                    raise OperatorError("Kafka does not answer.", "see with `points doctor` that it runs.")
    finally:
        consumer.close()


def _messages(polled: Iterable[Message], ended: set[int]) -> Iterator[Message]:
    for message in polled:
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:
            ended.add(place_of(message)[0])
        else:
            raise KafkaException(error)


def _consumer(settings: Settings) -> Consumer:
    return Consumer(
        settings.librdkafka("admin")
        | {"group.id": "points-dead", "enable.auto.commit": False, "log_level": 0}
        | {"enable.partition.eof": True, "auto.offset.reset": "error", "isolation.level": "read_committed"}
    )
