"""What an operator chooses of what was refused becomes the right commands; nothing personal is shown."""

import pytest

from schemas.command import encode_command, read_command
from schemas.formats import NEWEST
from schemas.kinds.dismiss import DismissCommand
from schemas.shards import shards_of
from schemas.verdicts import Verdict
from stream.core.read import bytes_hash
from stream.operate.commands.dead import masked
from stream.operate.platform.dead_letters import Letter, Place, Settled, dismissals, replay_of, why_not
from tests.making import METRO, SHARDS, TOPIC_IDS, record, uid

SAID = {"by": "li", "approved_by": "wang", "reason": "a test"}
KEY = b"dedupe key"


def place(offset: int, partition: int = 0, topic_id: str = TOPIC_IDS[METRO]) -> Place:
    return Place(METRO, topic_id, partition, offset)


def letter(offset: int, last: int | None = None, verdict: str = "malformed", **where: object) -> Letter:
    return Letter(place(offset, **where), offset if last is None else last, verdict, "", "", 0)


def test_offsets_in_a_row_are_dismissed_together_and_no_other_with_them() -> None:
    chosen = [
        letter(7),
        letter(5),
        letter(6, last=6),
        letter(9),
        letter(10, last=14),
        letter(15, partition=1),
    ]
    ranges = [(shard, d.partition, d.first, d.last) for shard, d in dismissals(chosen, SAID)]
    assert ranges == [(0, 0, 5, 7), (0, 0, 9, 14), (1, 1, 15, 15)]


def test_offsets_of_a_topic_made_again_are_others() -> None:
    other = "made-again".ljust(22, "-")
    assert len(dismissals([letter(5), letter(6, topic_id=other)], SAID)) == 2


def test_what_was_said_settles_its_own_place_alone() -> None:
    dismissed = DismissCommand(
        topic=METRO, topic_id=TOPIC_IDS[METRO], partition=0, first=5, last=9, **SAID
    )  # fmt: skip
    said = Settled({place(3)}, [dismissed])
    states = [said.state(letter(offset)) for offset in (3, 4, 5, 9, 10)]
    assert states == ["replayed", "open", "dismissed", "dismissed", "open"]
    assert said.state(letter(8, last=12)) == "open", "a batch of which a part was dismissed"
    assert said.state(letter(5, partition=1)) == "open"
    assert said.state(letter(3, topic_id="made-again".ljust(22, "-"))) == "open"


@pytest.mark.parametrize(
    ("value", "person"),
    [
        (record(uid=uid(2)), uid(2)),
        (record(uid=uid(3), kind="transfer"), uid(3)),
        (b"{", None),
        (b"\xff", None),
        (record(uid="A" * 32), None),
        (b'{"uid":7}', None),
    ],
)
def test_a_replay_goes_to_the_persons_shard_or_to_where_the_record_stands(value: bytes, person: str) -> None:
    shard, command = replay_of(place(41, partition=1), value, KEY, SAID, SHARDS)
    assert shard == (shards_of([person], SHARDS)[0] if person else 1)
    assert read_command(encode_command(command), NEWEST) == command
    assert (command.value, command.hash) == (value, bytes_hash(value, KEY))
    assert (command.topic, command.topic_id, command.partition, command.offset) == place(41, partition=1)


def test_what_can_never_be_decided_otherwise_is_not_replayed() -> None:
    assert "send" in why_not(letter(1, last=9, verdict=Verdict.UNREADABLE_BATCH.code))
    assert "refused again" in why_not(letter(1, verdict=Verdict.TOO_LARGE.code))
    assert why_not(letter(1, verdict=Verdict.INTERNAL_ERROR.code)) == ""


def test_nothing_personal_and_no_control_character_is_shown() -> None:
    shown = masked('{"name":"王小明","phone":"13800138000"}\x1b[31m\r\n\xff'.encode() + b"\xff\x00")
    assert shown.isascii()
    assert shown.isprintable()
    assert not any(c.isdigit() for c in shown)
    assert '"phone":"###########"' in shown
