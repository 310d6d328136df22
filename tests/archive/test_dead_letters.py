"""The archive knows which refused records are open, and whose record a replay was."""

import json

import pytest

from schemas.kinds import Kind
from schemas.verdicts import CODES, DEAD_LETTER, Verdict
from sinks.clickhouse.run import NOTHING, LedgerBlock, Run

METRO = {"topic": "intake.metro", "topic_id": "m"}


@pytest.fixture
def settled(chains, chdb, shard):
    """Refused at offsets 1000 to 1007, one for each verdict; 1000 is replayed, 1002 to 1004 dismissed."""
    codes = sorted(DEAD_LETTER)
    blocks = [chains.genesis(shard)]
    refused = chains.block_after(blocks[-1], len(codes), verdict=codes, points_milli=[0] * len(codes))
    replay = {
        "kind": [int(Kind.REPLAY)], "source": [-1], "offset": [0], "last_offset": [0],
        "inputs": [json.dumps(METRO | {"partition": shard, "offset": 1000})],
    }  # fmt: skip
    dismissal = {
        "kind": [int(Kind.DISMISS)], "source": [-1], "verdict": [int(Verdict.COMMAND_APPLIED)],
        "inputs": [json.dumps(METRO | {"partition": shard, "first": 1002, "last": 1004})],
    }  # fmt: skip
    blocks += [refused, chains.block_after(refused, 1, **replay)]
    blocks.append(chains.block_after(blocks[-1], 1, **dismissal, points_milli=[0]))
    chdb.append(Run(shard, tuple(LedgerBlock(b, b.meta.seq) for b in blocks)), NOTHING)
    return shard


def test_open_is_what_was_neither_replayed_nor_dismissed(settled, sql) -> None:
    found = sql(f"SELECT offset, verdict FROM dead_letters_open WHERE partition = {settled} ORDER BY offset")
    of = dict(zip(range(1000, 1000 + len(DEAD_LETTER)), map(CODES.get, sorted(DEAD_LETTER)), strict=True))
    assert found == [(offset, of[offset]) for offset in of if offset not in (1000, 1002, 1003, 1004)]


def test_every_verdict_that_is_a_dead_letter_is_among_them(chains, chdb, shard, sql) -> None:
    codes = sorted(CODES)
    blocks = [chains.genesis(shard)]
    blocks.append(chains.block_after(blocks[0], len(codes), verdict=codes, points_milli=[0] * len(codes)))
    chdb.append(Run(shard, tuple(LedgerBlock(b, b.meta.seq) for b in blocks)), NOTHING)
    found = {v for (v,) in sql(f"SELECT verdict FROM dead_letters_open WHERE partition = {shard}")}
    assert found == {CODES[code] for code in DEAD_LETTER}


def test_a_replay_is_its_app_s_record(settled, sql) -> None:
    [(app, topic)] = sql(f"SELECT app, topic FROM entries WHERE kind = 'replay' AND shard = {settled}")
    assert (app, topic) == ("metro", "")
