"""The views against sums made here, row by row."""

import datetime as dt
import re
from collections import defaultdict

import pytest

from schemas.report import DAY_MS, date_of_day
from schemas.verdicts import CODES, Verdict
from sinks.clickhouse.run import NOTHING, LedgerBlock, Run


@pytest.fixture
def archived(chdb, sql, chains, shard):
    """Blocks over two days with credits, an expiry and refusals; a part inserted twice and not merged."""
    blocks = chains.chain(shard, [(9, 10), (6, 86_400_000)])
    expired = blocks[1].rows.slice(0, 1).to_pydict()
    blocks.append(
        chains.block_after(
            blocks[-1],
            3,
            verdict=[int(Verdict.EXPIRED), int(Verdict.MALFORMED), int(Verdict.DUPLICATE)],
            source=[-1, 0, 1],
            uid=[expired["uid"][0], "", f"{5:032x}"],
            points_milli=[-lot_of(blocks, expired["uid"][0], expired["expiry_day"][0]), 0, 0],
            expiry_day=[expired["expiry_day"][0], 0, 0],
        )
    )
    sql("SYSTEM STOP MERGES ledger_rows")
    for first, last in ((0, 3), (1, 2)):
        chdb.append(
            Run(shard, tuple(LedgerBlock(b, b.meta.seq) for b in blocks[first : last + 1])),
            _before(blocks, first),
        )
    yield blocks
    sql("SYSTEM START MERGES ledger_rows")


def _before(blocks, first):
    if first == 0:
        return NOTHING
    return Run(0, (LedgerBlock(blocks[first - 1], first - 1),)).end


def rows(blocks):
    for block in blocks:
        topics = [span.topic for span in block.meta.sources] + [""]
        for row in block.rows.to_pylist():
            day = date_of_day((row["time_ms"] + 8 * 3_600_000) // 86_400_000)
            yield row | {"app": topics[row["source"]].removeprefix("intake."), "day": day}


def lot_of(blocks, uid, expiry_day):
    return sum(r["points_milli"] for r in rows(blocks) if (r["uid"], r["expiry_day"]) == (uid, expiry_day))


def lots(blocks):
    found = defaultdict(int)
    for row in rows(blocks):
        if row["points_milli"]:
            found[row["uid"], date_of_day(row["expiry_day"])] += row["points_milli"]
    return found


def test_rows_are_doubled_underneath(archived, sql, shard):
    assert sql(f"SELECT count() FROM ledger_rows WHERE shard = {shard}") == [(19 + 15,)]
    assert sql(f"SELECT count() FROM entries WHERE shard = {shard}") == [(19,)]


def test_lots_and_balances(archived, sql, shard):
    expected = lots(archived)
    assert 0 in expected.values()  # one lot expired
    found = sql(f"SELECT uid, expires_on, points_milli FROM lots WHERE shard = {shard}")
    assert {(uid, day): points for uid, day, points in found} == dict(expected)
    balances = {
        uid: (balance, float(points), next_expiry, count)
        for uid, balance, points, next_expiry, count in sql(
            f"SELECT uid, balance_milli, points, next_expiry, lots FROM balances WHERE shard = {shard}"
        )
    }
    assert set(balances) == {uid for uid, _ in expected}
    for uid, (balance, points, next_expiry, count) in balances.items():
        mine = {day: points for (person, day), points in expected.items() if person == uid and points}
        assert (balance, next_expiry, count) == (sum(mine.values()), min(mine, default=None), len(mine))
        assert points == balance / 1000


def test_points_by_expiry_month(archived, sql, chdb):
    months = sql(
        "SELECT expiry_month, people, points_milli FROM points_by_expiry_month ORDER BY expiry_month"
    )
    again = sql(
        "SELECT toStartOfMonth(expires_on) m, uniqExact(uid), sum(points_milli) FROM lots"
        " WHERE points_milli != 0 GROUP BY m ORDER BY m"
    )
    assert months == again != []
    assert all(month == dt.date(month.year, month.month, 1) for month, _, _ in months)


def test_app_per_day_and_verdicts_per_day(archived, sql):
    """The views have no shard: this test's rows are at least there, and sums over the views are whole."""
    expected = defaultdict(int)
    for row in rows(archived):
        expected[row["day"], row["app"], CODES[row["verdict"]]] += 1
    found = {
        (day, app, verdict): n
        for day, app, verdict, n in sql("SELECT day, app, verdict, records FROM verdicts_per_day")
    }
    assert all(found[key] >= n for key, n in expected.items())
    assert {day for day, _, _ in expected} == {dt.date(2024, 9, 7), dt.date(2024, 9, 8)}
    assert sum(found.values()) == sql("SELECT uniqExact(shard, seq, row) FROM ledger_rows")[0][0]
    per_app = sql("SELECT sum(records), sum(credited), sum(points_milli) FROM app_per_day WHERE app != ''")
    columns = "count(), countIf(points_milli > 0), sum(points_milli)"
    assert per_app == sql(f"SELECT {columns} FROM entries WHERE app IN ('bus', 'metro')")


def test_a_day_is_found_without_reading_the_others(chdb, sql, chains, shard):
    """The index on time holds, whatever day a refused record said it was of."""
    blocks = chains.chain(shard, [])
    for day in range(6):
        occurred_ms = [blocks[0].meta.time_ms + day * DAY_MS] * 20_000
        occurred_ms[::1_000] = [0] * 20
        blocks.append(chains.block_after(blocks[-1], 20_000, DAY_MS, occurred_ms=occurred_ms))
    chdb.append(Run(shard, tuple(LedgerBlock(b, b.meta.seq) for b in blocks)), NOTHING)
    of_a_day = f"SELECT sum(records) FROM verdicts_per_day WHERE day = '{dt.date(2024, 9, 11)}'"
    plan = "\n".join(line for (line,) in sql(f"SELECT * FROM (EXPLAIN indexes = 1 {of_a_day})"))
    [(read, of_all)] = re.findall(r"by_time\n(?:.*\n){3}.*Granules: (\d+)/(\d+)", plan)
    assert int(read) <= 5 < 15 <= int(of_all), plan
    assert sql(of_a_day)[0][0] >= 20_000
