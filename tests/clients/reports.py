"""What an app of these tests reports, and what it must be told for it."""

import datetime as dt
import hashlib
import json
from collections import Counter

from schemas.report import SHANGHAI
from schemas.shards import shards_of

MG_PER_10_M = 468  # SZ-METRO; by the demo's exchange rule a mg is 1/1000 point


def reports(name: str, count: int = 60) -> list[dict]:
    """One valid report each of `count` persons whom no other name has."""
    at = dt.datetime.now(SHANGHAI) - dt.timedelta(minutes=1)
    return [
        {
            "version": 1,
            "kind": "report",
            "uid": hashlib.md5(f"{name} {number}".encode()).hexdigest(),
            "report_id": f"{at:%Y%m%d}-{name}-{number}",
            "methodology": "SZ-METRO",
            "occurred_at": at.isoformat(timespec="seconds"),
            "activity": {"distance_m": 1_000 + number},
            "source_txn": f"{name}-{number}",
        }
        for number in range(count)
    ]


def json_lines(sent: list[dict]) -> str:
    """Reports as the programs of docs/apps.md read them."""
    return "".join(json.dumps(report) + "\n" for report in sent)


def verdicts(sent: list[dict], outcomes: list[dict], shards: int) -> Counter:
    """How often each verdict came, after checking every outcome: one for each report; credited with the right
    points, or known, where the report lies in its person's partition; else misrouted, with the cure."""
    of = {outcome["report_id"]: outcome for outcome in outcomes}
    assert len(outcomes) == len(of)
    assert of.keys() == {report["report_id"] for report in sent}
    due = shards_of([report["uid"] for report in sent], shards)
    for report, shard in zip(sent, due, strict=True):
        outcome = of[report["report_id"]]
        told = outcome["verdict"], outcome["points_milli"], outcome["balance_milli"]
        points_milli = report["activity"]["distance_m"] * MG_PER_10_M // 10
        if outcome["partition"] == shard:
            assert told in (("credited", points_milli, points_milli), ("duplicate", 0, points_milli))
        else:
            assert told == ("misrouted", 0, 0)
            assert f"mod {shards} is {shard};" in outcome["detail"]
            assert "key = uid (librdkafka: partitioner=murmur2_random)" in outcome["detail"]
    return Counter(outcome["verdict"] for outcome in outcomes)


def assert_cured(before: Counter, after: Counter) -> None:
    """Many were misrouted; sent again, they are credited, and the others are not credited twice."""
    assert before == {"credited": before["credited"], "misrouted": before["misrouted"]}
    assert 4 * before["misrouted"] > before.total()  # three of four are expected where no key decides
    assert after == {"credited": before["misrouted"], "duplicate": before["credited"]}
