"""Replay: refused bytes are decided once more as their app's record, with all rules, and move no position."""

import json

import msgspec

from schemas.block import Block
from schemas.command import encode_command
from schemas.kinds import Kind
from schemas.kinds.dismiss import DismissCommand
from schemas.kinds.replay import ReplayCommand
from schemas.outcome import messages_of
from schemas.state import Head
from schemas.topics import COMMANDS, DEAD_LETTERS, outcomes_topic
from schemas.verdicts import Verdict
from stream.core.apply import apply
from stream.core.read import bytes_hash
from tests.making import APPS, BUS, METRO, TOPIC_IDS, head, platform, record, source, uid
from tests.unit.test_decide import decided, members, verdicts

OFFSET = 41
PLACE = {"topic": METRO, "topic_id": TOPIC_IDS[METRO], "partition": 3, "offset": OFFSET}


def replay(value: bytes, topic: str = METRO, **said: object) -> tuple[str, bytes]:
    command = ReplayCommand(
        topic=topic, topic_id=TOPIC_IDS[METRO], partition=3, offset=OFFSET, value=value,
        hash=bytes_hash(value, platform().dedupe_key), by="li", approved_by="wang", reason="a defect of ours",
    )  # fmt: skip
    return COMMANDS, encode_command(msgspec.structs.replace(command, **said))


def last_row(block: Block) -> dict:
    return block.rows.to_pylist()[-1]


def told(block: Block, topic: str = outcomes_topic("metro")) -> list[dict]:
    return [json.loads(message.value) for message in messages_of(block).get(topic, [])]


def test_a_replayed_record_is_credited_as_its_apps_and_told_at_its_own_place() -> None:
    block = decided(replay(record(region="440304")))
    row = last_row(block)
    assert (row["kind"], row["verdict"]) == (Kind.REPLAY, Verdict.CREDITED)
    assert block.meta.sources[row["source"]].topic == COMMANDS
    assert {row["id_member"], row["claim_member"]} == members(record())
    assert json.loads(row["inputs"]) | PLACE == json.loads(row["inputs"])
    assert (row["by"], row["approved_by"], row["reason"]) == ("li", "wang", "a defect of ours")
    [outcome] = told(block)
    assert {name: outcome[name] for name in PLACE} == PLACE
    assert (outcome["last_offset"], outcome["verdict"]) == (OFFSET, "credited")
    assert outcome["points_milli"] == row["points_milli"] > 0
    assert [m.key for m in messages_of(block)[outcomes_topic("metro")]] == [uid().encode()]


def test_a_replay_moves_no_position_of_its_app() -> None:
    before = head()
    after = apply(decided(replay(record())), before, {}, 6).head
    assert after.sources[METRO] == before.sources[METRO]
    assert after.sources[COMMANDS].next == before.sources[COMMANDS].next + 1


def test_the_bytes_are_kept_nowhere_in_the_block() -> None:
    value = b'{"version":1,"kind":"report","secret":"13800138000"}'
    block = decided(replay(value))
    assert verdicts(block) == ["malformed"]
    assert "13800138000" not in str(block.rows.to_pylist())
    assert last_row(block)["bytes_hash"] == bytes_hash(value, platform().dedupe_key)


def test_a_dead_letter_before_a_replay_has_the_hash_of_its_own_bytes() -> None:
    block = decided((METRO, b"rubbish"), replay(b"{"))
    hashes = [bytes_hash(value, platform().dedupe_key) for value in (b"rubbish", b"{")]
    assert block.rows.column("bytes_hash").to_pylist() == hashes
    assert block.rows.column("bytes_size").to_pylist() == [7, 1]


def test_what_is_refused_again_is_a_dead_letter_again_at_its_own_place() -> None:
    block = decided(replay(b"{"))
    [letter] = told(block, DEAD_LETTERS)
    assert {name: letter[name] for name in PLACE} == PLACE
    assert [m.key for m in messages_of(block)[outcomes_topic("metro")]] == [None], "of no person"


def test_however_often_it_is_replayed_it_counts_once() -> None:
    assert verdicts(decided((METRO, record()), replay(record()))) == ["credited", "duplicate"]
    remembered = decided(replay(record()), seen=members(record()))
    assert verdicts(remembered) == ["duplicate"]
    claimed = members(record()) - {last_row(remembered)["id_member"]}
    assert verdicts(decided(replay(record("b", source_txn="txn-a")), seen=claimed)) == ["already_claimed"]


def test_the_rules_are_those_of_the_record_s_app() -> None:
    assert verdicts(decided(replay(record(), topic=BUS))) == ["methodology_unknown"]
    suspended = head(apps=APPS | {"metro": msgspec.structs.replace(APPS["metro"], active=False)})
    assert verdicts(decided(replay(record()), after=suspended)) == ["app_not_active"]
    assert verdicts(decided(replay(record(scene_id="metro-gate")))) == ["credited"]
    assert verdicts(decided(replay(record(scene_id="bus-reader")))) == ["scene_not_granted"]
    assert verdicts(decided(replay(record(uid=uid(1))))) == ["misrouted"]


def test_rarer_inputs_stand_beside_the_place() -> None:
    inputs = json.loads(last_row(decided(replay(record(scene_id="metro-gate"))))["inputs"])
    assert inputs["scene_id"] == "metro-gate"
    assert inputs["offset"] == OFFSET


def refused_and_told_to_nobody(block: Block) -> bool:
    row = last_row(block)
    return (row["kind"], row["verdict"]) == (Kind.NONE, Verdict.FORBIDDEN_OPERATION) and not messages_of(
        block
    )


def test_bytes_that_are_not_those_of_the_hash_are_no_record() -> None:
    assert refused_and_told_to_nobody(decided(replay(record(), hash="0" * 32)))


def test_a_record_of_an_app_that_nobody_registered_is_told_to_nobody() -> None:
    known = {COMMANDS: source(0, COMMANDS), BUS: source(0, BUS)}
    others = head(apps={"bus": APPS["bus"]}, sources=known)
    assert refused_and_told_to_nobody(decided(replay(record()), after=others))


def dismissed(first: int, last: int, partition: int = 0) -> Block:
    command = DismissCommand(
        topic=METRO, topic_id=TOPIC_IDS[METRO], partition=partition, first=first, last=last, reason="a test"
    )
    return decided((COMMANDS, encode_command(command)))


def test_a_dismissal_is_a_row_and_nothing_else() -> None:
    before: Head = head()
    block = dismissed(3, 9)
    row = last_row(block)
    assert (row["kind"], row["verdict"], row["reason"]) == (Kind.DISMISS, Verdict.COMMAND_APPLIED, "a test")
    change = apply(block, before, {}, 6)
    assert (change.persons, change.members, change.head.apps) == ({}, {}, before.apps)
    assert not messages_of(block)
    assert verdicts(dismissed(9, 3)) == ["forbidden_operation"]
    assert verdicts(dismissed(3, 9, partition=1)) == ["forbidden_operation"]
