"""What is said in a golden ledger: every kind of row, and every verdict that a record can be given.

A turn is what was fetched before the next cycle is taken. The platform's rules stand in tests/golden/rules.
"""

import datetime as dt
from typing import NamedTuple

import msgspec

from schemas.block import Span
from schemas.command import encode_command as encoded
from schemas.kinds.adopt import AdoptCommand
from schemas.kinds.app import App, AppCommand
from schemas.kinds.clock import ClockCommand
from schemas.kinds.dismiss import DismissCommand
from schemas.kinds.format import FormatCommand
from schemas.kinds.replay import ReplayCommand
from schemas.limits import RECORD_BYTES_MAX
from schemas.topics import COMMANDS, app_of, outcomes_topic
from stream.core.read import bytes_hash
from tests.making import NOON, NOON_MS, record, uid

PLATFORM, SHARD = "golden", 0
GENESIS = {"shards": 4, "dedupe_key": "90" * 16, "simulated_clock": True, "fair_rows_s": 300}
BUS, METRO = "intake.bus", "intake.metro"
DAY = dt.timedelta(days=1)
IDS = {COMMANDS: "commands", BUS: "bus", METRO: "metro"}
KEY = bytes.fromhex(GENESIS["dedupe_key"])
BEGINS_MS = NOON_MS - 60_000


class Said(NamedTuple):
    """One batch, as a producer sent it. `unreadable`: its values are such that it cannot be read."""

    topic: str
    topic_id: str
    base: int
    next: int
    broker_ms: int
    values: list[str]  # bytes as the first 256 characters: JSON holds no others
    unreadable: bool = False


class Turn(msgspec.Struct):
    """What was fetched, and what is known to be published by then."""

    said: list[Said]
    published_to: int = 0
    waiting: dict[str, int] = {}  # topics of outcomes that do not exist, and from which ledger offset on


def text_of(value: bytes) -> str:
    """Any bytes as text that JSON can hold."""
    return value.decode("latin-1")


def bytes_of(text: str) -> bytes:
    """The bytes again."""
    return text.encode("latin-1")


def topic_id(topic: str, made: int = 1) -> str:
    """The id of a topic that was made so many times."""
    return f"{IDS[topic]}-{made}".ljust(22, "-")


class Story:
    """Turns in the making: knows each topic's next offset, and what time it is."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self._ends: dict[str, int] = {}
        self._made: dict[str, int] = {}
        self._now_ms = NOON_MS

    def place(self, topic: str) -> tuple[str, int]:
        """The id of a topic as it is now, and the offset that its next record gets."""
        return topic_id(topic, self._made.get(topic, 1)), self._ends.get(topic, 0)

    def turn(self, *said: tuple[str, bytes], **known: object) -> None:
        """Records arrive, a millisecond apart, each in a batch of its own."""
        self.turns.append(Turn([self._say(topic, [value]) for topic, value in said], **known))

    def unreadable(self, topic: str, offsets: int) -> None:
        """A batch arrives that no client can read."""
        self.turns.append(Turn([self._say(topic, [""] * offsets)._replace(unreadable=True)]))

    def make_again(self, topic: str) -> None:
        """A topic is deleted and made again, empty."""
        self._made[topic] = self._made.get(topic, 1) + 1
        self._ends[topic] = 0

    def _say(self, topic: str, values: list[bytes | str]) -> Said:
        now, base = self._now_ms, self._ends.get(topic, 0)
        self._now_ms, self._ends[topic] = now + 1, base + len(values)
        texts = [value if isinstance(value, str) else text_of(value) for value in values]
        return Said(topic, self.place(topic)[0], base, base + len(values), now, texts)


LABELS = {"by": "li", "approved_by": "wang", "reason": "golden"}
PERSONAL = "44030519900101123X"


def app(topic: str, active: bool = True) -> tuple[str, bytes]:
    """The command that registers an app, or changes it."""
    granted = ["SZ-METRO", "SZ-LATER"]
    as_it_is = App(
        app_of(topic), "an operator", granted, ["gate"], active, rows_per_day=9_000, topic_id=topic_id(topic)
    )
    return COMMANDS, encoded(AppCommand(app=as_it_is, **LABELS))


def metres(name: str, metres: int, **said: object) -> tuple[str, bytes]:
    """A report of a trip of so many metres."""
    return METRO, record(name, activity={"distance_m": metres}, **said)


def story() -> Story:
    """The whole scenario."""
    said = Story()
    said.turn(app(METRO), app(BUS))
    said.turn(metres("first", 1_000), published_to=1)
    _refuse_early(said)
    _refuse_late(said)
    _settle(said)
    said.turn(app(BUS, active=False), (BUS, record("suspended")))
    said.turn((COMMANDS, encoded(ClockCommand(at=NOON - DAY, **LABELS))), (COMMANDS, b"no command"))
    said.turn((COMMANDS, encoded(FormatCommand(number=1, release="0.2", **LABELS))))
    _lose(said)
    said.turn((COMMANDS, encoded(ClockCommand(at=NOON + 60 * DAY, **LABELS))))
    later = [record(f"later-{n}", NOON + 60 * DAY, uid=uid(0, n)) for n in range(2)]
    said.turn(*((METRO, value) for value in later))
    return said


def _refuse_early(said: Story) -> None:
    """What is no good report by itself, and what is one but not here."""
    said.turn(
        (METRO, b"{" + b" " * RECORD_BYTES_MAX),
        (METRO, b"\xff\x00 no JSON"),
        (METRO, record("version", version=2)),
        (METRO, record("personal", source_txn=PERSONAL)),
        (METRO, record("transfer", kind="transfer")),
        (METRO, record("elsewhere", uid=uid(1))),
        (BUS, b'{"report_id": "20240907-short"}'),
        waiting={outcomes_topic("bus"): 3},
    )
    said.unreadable(METRO, 5)


def _refuse_late(said: Story) -> None:
    """What depends on the day, on the rules, and on what was reported before; then what is credited."""
    said.turn(
        metres("first", 1_000),
        (METRO, record("ahead", NOON + DAY)),
        (METRO, record("outside", NOON.replace(year=2022, month=8, day=17))),
        (METRO, record("late", NOON - 10 * DAY)),
        (METRO, record("unknown", methodology="SZ-NONE")),
        (METRO, record("not-yet", methodology="SZ-LATER")),
        (METRO, record("scene", scene_id="other")),
        (METRO, record("region", region="110000")),
        metres("far", 90_000),
        (BUS, record("raced", source_txn="txn-first")),
        (METRO, record("household", subject_type="household", evidence={"photo": 1})),
        metres("in-part", 40_000, uid=uid(0, 1), region="440305", scene_id="gate"),
        metres("capped", 40_000, uid=uid(0, 1), other_mechanism=True),
        metres("neighbour", 2_000, uid=uid(0, 2), ended_at=(NOON + DAY / 24).isoformat()),
    )


def _settle(said: Story) -> None:
    """A refused record is decided once more, as it is and with other bytes; others are dismissed."""
    for value, hashed in ((record("again"), record("again")), (record("again"), b"other bytes")):
        command = ReplayCommand(
            topic=METRO, topic_id=topic_id(METRO), partition=SHARD, offset=2, value=value,
            hash=bytes_hash(hashed, KEY), **LABELS,
        )  # fmt: skip
        said.turn((COMMANDS, encoded(command)))
    dismissed = DismissCommand(
        topic=METRO, topic_id=topic_id(METRO), partition=SHARD, first=1, last=3, **LABELS
    )
    said.turn((COMMANDS, encoded(dismissed)))


def _lose(said: Story) -> None:
    """A topic is made again with records in it, and adopted; an adoption below the position is refused."""
    said.make_again(METRO)
    new_id, first = said.place(METRO)
    said.turn((COMMANDS, encoded(AdoptCommand(topic=METRO, topic_id=new_id, first=first, **LABELS))))
    said.turn(metres("made-again", 500, uid=uid(0, 2)))
    said.turn((COMMANDS, encoded(AdoptCommand(topic=METRO, topic_id=new_id, first=0, **LABELS))))


def begins() -> Span:
    """From where the platform speaks."""
    return Span(COMMANDS, topic_id(COMMANDS), 0, 0)
