"""Who has a claim and who lost it, ids with two contents, trips of two persons: what the views say."""

import datetime as dt
import re

import pytest

from schemas.report import SHANGHAI
from schemas.verdicts import TAKES_CLAIM, Verdict
from sinks.clickhouse.run import NOTHING, LedgerBlock, Run

ANNA, BELA, CARL = (f"{number:032x}" for number in (1, 2, 3))
BUS, METRO = 0, 1  # sources of a block
ROWS_PER_BLOCK = 40_000


def told(source=METRO, verdict=Verdict.CREDITED, **said):
    """One row of a block: a report of Anna's trip T on September 7 in the morning, unless said otherwise."""
    at = said.pop("at", "2024-09-07T08:00:00")
    moment = dt.datetime.fromisoformat(at).replace(tzinfo=SHANGHAI)
    row = {
        "source": source,
        "verdict": int(verdict),
        "uid": ANNA,
        "report_id": f"{at[:10].replace('-', '')}-{source}",
        "methodology": "SZ-METRO",
        "occurred_ms": int(moment.timestamp() * 1000),
        "unit": "distance_m",
        "activity": 4_000,
        "source_txn": "T",
        "region": "440300",
        "inputs": "",
        "points_milli": 187_200 if verdict == Verdict.CREDITED else 0,
    }
    takes, remembers = verdict in TAKES_CLAIM, verdict not in (Verdict.DUPLICATE, Verdict.MISROUTED)
    return row | {"claim_member": 7 * takes, "id_member": 9 * remembers} | said


@pytest.fixture
def ledger(chdb, sql, chains):
    """Archives blocks, each a list of rows, a minute after the one before; all of it twice, not merged."""

    def archive(shard, *blocks_told):
        blocks = [chains.genesis(shard)]
        for rows in blocks_told:
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            blocks.append(chains.block_after(blocks[-1], len(rows), 60_000, **columns))
        chdb.append(Run(shard, tuple(LedgerBlock(b, b.meta.seq) for b in blocks)), NOTHING)
        for block, before in zip(blocks[1:], blocks, strict=False):
            mark = Run(shard, (LedgerBlock(before, before.meta.seq),)).end
            chdb.append(Run(shard, (LedgerBlock(block, block.meta.seq),)), mark)
        return blocks

    sql("SYSTEM STOP MERGES ledger_rows")
    yield archive
    sql("SYSTEM START MERGES ledger_rows")


@pytest.fixture
def claims(sql):
    """What the view `claims` says of a shard, in the ledger's order."""

    def ask(shard):
        columns = "behaviour_day, app, verdict, seq, row, lost_reports, lost_apps"
        return [
            (str(day), *told)
            for day, *told in sql(f"SELECT {columns} FROM claims WHERE shard = {shard} ORDER BY seq, row")
        ]

    return ask


LOST = Verdict.ALREADY_CLAIMED


def test_the_first_report_has_the_claim_however_late_the_others_come(ledger, claims, sql, shard):
    """Losers of another app and under the winner's own new id, in the same block and in a later one."""
    blocks = ledger(
        shard,
        [told(METRO), told(BUS, LOST, report_id="20240907-b1"), told(METRO, LOST, report_id="20240907-m2")],
        [told(METRO, source_txn="other")],
        [told(BUS, LOST, report_id="20240907-b2")],
    )
    assert claims(shard) == [
        ("2024-09-07", "metro", "credited", 1, 0, 3, ["bus", "metro"]),
        ("2024-09-07", "metro", "credited", 2, 0, 0, []),
    ]
    [(first_lost_at, *rest)] = sql(
        "SELECT first_lost_at, uid, methodology, source_txn, report_id, points_milli,"
        f" toUnixTimestamp64Milli(time) FROM claims WHERE shard = {shard} AND lost_reports > 0"
    )
    assert first_lost_at.timestamp() * 1000 == blocks[1].meta.time_ms
    assert rest == [ANNA, "SZ-METRO", "T", "20240907-1", 187_200, blocks[1].meta.time_ms]


@pytest.mark.parametrize("verdict", [Verdict.CREDITED_IN_PART, Verdict.CAP_REACHED, Verdict.RECORDED_ONLY])
def test_a_report_without_points_has_its_claim_all_the_same(ledger, claims, shard, verdict):
    ledger(shard, [told(METRO, verdict), told(BUS, LOST)])
    assert claims(shard) == [("2024-09-07", "metro", verdict.code, 1, 0, 1, ["bus"])]


def test_what_was_refused_has_no_claim_and_loses_none(ledger, claims, shard):
    refused = [told(METRO, v) for v in (Verdict.ACTIVITY_INVALID, Verdict.MISROUTED, Verdict.DUPLICATE)]
    ledger(shard, [*refused, told(BUS), *refused])
    assert claims(shard) == [("2024-09-07", "bus", "credited", 1, 3, 0, [])]


@pytest.mark.parametrize(("won", "lost"), [("07T23:59:59", "08T00:00:01"), ("08T00:00:01", "07T23:59:59")])
def test_a_trip_across_midnight_is_one_claim(ledger, claims, shard, won, lost):
    ledger(shard, [told(METRO, at=f"2024-09-{won}")], [told(BUS, LOST, at=f"2024-09-{lost}")])
    assert claims(shard) == [(f"2024-09-{won[:2]}", "metro", "credited", 1, 0, 1, ["bus"])]


def test_the_same_transaction_two_days_later_is_another_claim(ledger, claims, shard):
    """And a report of the day between belongs to the older of the two, if both were there before it."""
    day_3, day_5, between = "2024-09-03T08:00:00", "2024-09-05T08:00:00", "2024-09-04T08:00:00"
    ledger(
        shard,
        [told(METRO, at=day_5), told(BUS, at=day_3)],
        [
            told(BUS, LOST, at=between, report_id="20240904-x"),
            told(BUS, LOST, at=day_5, report_id="20240905-y"),
        ],
    )
    assert claims(shard) == [
        ("2024-09-05", "metro", "credited", 1, 0, 2, ["bus"]),
        ("2024-09-03", "bus", "credited", 1, 1, 0, []),
    ]


def test_a_claim_taken_after_a_loser_was_not_what_it_lost_to(ledger, claims, shard):
    day_3, day_5, between = "2024-09-03T08:00:00", "2024-09-05T08:00:00", "2024-09-04T08:00:00"
    ledger(shard, [told(METRO, at=day_5), told(BUS, LOST, at=between), told(METRO, at=day_3)])
    assert claims(shard) == [
        ("2024-09-05", "metro", "credited", 1, 0, 1, ["bus"]),
        ("2024-09-03", "metro", "credited", 1, 2, 0, []),
    ]


def test_a_methodology_without_transactions_claims_by_time(ledger, claims, shard):
    ledger(
        shard,
        [told(METRO, source_txn="", at=f"2024-09-07T{hour}:00:00") for hour in ("08", "09")],
        [told(BUS, LOST, source_txn="", at="2024-09-07T09:00:00")],
    )
    assert [told[5:] for told in claims(shard)] == [(0, []), (1, ["bus"])]


def test_other_persons_and_methodologies_have_claims_of_their_own(ledger, claims, shard):
    ledger(
        shard,
        [told(METRO), told(METRO, uid=BELA), told(METRO, methodology="SZ-BUS-BEV")],
        [told(BUS, LOST, uid=BELA)],
    )
    assert [told[5:] for told in claims(shard)] == [(0, []), (1, ["bus"]), (0, [])]


def conflicts(sql, where):
    columns = (
        "app, report_id, differs, shard, seq, row, verdict, first_shard, first_seq, first_row, first_verdict"
    )
    return sql(f"SELECT {columns} FROM conflicting_ids WHERE {where} ORDER BY shard, seq, row")


def test_an_id_of_another_person_is_named_and_a_repetition_is_not(ledger, sql, shard):
    """Of a duplicate only id and person are kept: that nothing else stands there is no other content."""
    report_id = f"20240907-{shard}"
    nothing = {
        "methodology": "", "at": "1970-01-01T08:00:00", "unit": "", "activity": 0, "source_txn": "",
        "region": "",
    }  # fmt: skip

    def repeated(source=METRO, **said):
        return told(source, Verdict.DUPLICATE, report_id=report_id, **nothing | said)

    ledger(
        shard,
        [
            told(METRO, report_id=report_id),
            told(BUS, Verdict.ACTIVITY_INVALID, report_id=report_id),
            repeated(),
        ],
        [repeated(), repeated(uid=BELA), repeated()],
        [repeated(BUS), repeated(BUS, uid=BELA)],
    )
    metro, bus = (shard, 1, 0, "credited"), (shard, 1, 1, "activity_invalid")
    assert conflicts(sql, f"shard = {shard}") == [
        ("metro", report_id, ["uid"], shard, 2, 1, "duplicate", *metro),
        ("bus", report_id, ["uid"], shard, 3, 1, "duplicate", *bus),
    ]


def test_an_id_with_another_content_in_another_shard_is_named_with_what_differs(ledger, sql, new_shard):
    """There it was judged, so that every column is kept."""
    again = {
        "uid": BELA, "methodology": "SZ-BUS-BEV", "at": "2024-09-07T08:00:01", "unit": "steps",
        "activity": 4_001, "source_txn": "U", "region": "440301", "inputs": '{"scene_id":"metro-gate"}',
    }  # fmt: skip
    names = ["occurred_at" if name == "at" else name for name in again]
    here = new_shard()
    ledger(here, [told(METRO, report_id=f"20240907-{here}-{n}") for n in range(len(again) + 2)])
    there = new_shard()
    changed = [{}, *({name: value} for name, value in again.items()), again]
    reports = [told(METRO, report_id=f"20240907-{here}-{n}", **said) for n, said in enumerate(changed)]
    ledger(there, [told(METRO, uid=CARL, report_id="20240907-later")], reports)
    first = "credited"
    assert conflicts(sql, f"shard = {there}") == [
        ("metro", f"20240907-{here}-{n}", differs, there, 2, n, "credited", here, 1, n, first)
        for n, differs in enumerate([[name] for name in names] + [names], 1)
    ]


def test_two_apps_may_use_the_same_id_and_a_repaired_record_its_own_again(ledger, sql, shard):
    ledger(
        shard,
        [
            told(METRO, Verdict.MISROUTED, report_id=f"20240907-x{shard}", activity=1),
            told(METRO, report_id=f"20240907-x{shard}"),
            told(BUS, report_id=f"20240907-x{shard}", activity=2),
        ],
    )
    assert conflicts(sql, f"shard = {shard}") == []


def test_one_id_for_two_persons_of_two_shards_is_found_here_only(ledger, sql, new_shard):
    here, there = new_shard(), new_shard()
    ledger(here, [told(METRO, report_id="20240907-twice")])
    ledger(there, [told(METRO, uid=BELA)], [told(METRO, uid=BELA, report_id="20240907-twice")])
    assert conflicts(sql, f"first_shard = {here}") == [
        ("metro", "20240907-twice", ["uid"], there, 2, 0, "credited", here, 1, 0, "credited")
    ]


def test_a_transaction_of_two_persons_is_one_pair_in_the_order_of_time(ledger, sql, new_shard):
    """Across shards and midnight; not two days apart, not within one person, not without a transaction."""
    here, there = new_shard(), new_shard()
    txn = f"pair-{here}"
    ledger(
        here,
        [
            told(METRO, source_txn=txn, at="2024-09-07T23:59:59"),
            told(BUS, source_txn=txn, at="2024-09-06T08:00:00", report_id="20240906-a"),
            told(METRO, source_txn=""),
        ],
        [told(BUS, source_txn=txn, uid=CARL, at="2024-09-09T08:00:00", report_id="20240909-c")],
        [told(METRO, LOST, source_txn=txn, uid=CARL, at="2024-09-08T08:00:00", report_id="20240908-l")],
    )
    ledger(
        there,
        [told(METRO, source_txn="", uid=BELA)],
        [told(BUS, Verdict.CAP_REACHED, source_txn=txn, uid=BELA, at="2024-09-08T00:00:01")],
    )
    columns = "uid, app, report_id, day, verdict, shard, seq, row, points_milli"
    both = ", ".join(f"{which}_{name}" for which in ("first", "second") for name in columns.split(", "))
    bela = (BELA, "bus", "20240908-0", dt.date(2024, 9, 8), "cap_reached", there, 2, 0, 0)
    anna = (ANNA, "metro", "20240907-1", dt.date(2024, 9, 7), "credited", here, 1, 0, 187_200)
    carl = (CARL, "bus", "20240909-c", dt.date(2024, 9, 9), "credited", here, 2, 0, 187_200)
    found = sql(f"SELECT {both} FROM claimed_by_two_persons WHERE source_txn = '{txn}' ORDER BY first_time")
    # Carl and Bela were recorded in the same minute: the lower shard comes first.
    assert found == [anna + bela, carl + bela]
    assert sql("SELECT count() FROM claimed_by_two_persons WHERE source_txn = ''") == [(0,)]


def test_a_persons_claims_do_not_cost_reading_everybodys(chdb, sql, chains, shard):
    """All three readings behind the view find one person among 200,000 rows by the index on uid."""
    blocks = [chains.genesis(shard)]
    for number in range(5):
        rows = range(number * ROWS_PER_BLOCK, (number + 1) * ROWS_PER_BLOCK)
        verdicts = [int(LOST if row % 20 == 1 else Verdict.CREDITED) for row in rows]
        columns = {
            "uid": [f"{shard:08x}{row // 4:024x}" for row in rows],
            "source_txn": [str(row // 2) for row in rows],
            "verdict": verdicts,
            "claim_member": [int(verdict != LOST) for verdict in verdicts],
        }
        blocks.append(chains.block_after(blocks[-1], len(rows), 1, **columns))
    chdb.append(Run(shard, tuple(LedgerBlock(b, b.meta.seq) for b in blocks)), NOTHING)
    of_one = f"SELECT * FROM claims WHERE uid = '{shard:08x}{5:024x}'"
    assert sql(f"SELECT source_txn, lost_reports FROM ({of_one}) ORDER BY row") == [
        ("10", 1),
        ("11", 0),
        ("11", 0),
    ]
    plan = "\n".join(line for (line,) in sql(f"SELECT * FROM (EXPLAIN indexes = 1 {of_one})"))
    found = re.findall(r"by_uid\n.*\n.*Parts.*\n.*Granules: (\d+)/(\d+)", plan)
    assert len(found) == 3, plan
    assert all(int(read) <= 2 and int(all_of_them) > 24 for read, all_of_them in found), plan
