"""What a run says: the figures by hand, and the totals compared."""

import io

import msgspec
from rich.console import Console

from loadtest.bench.drain import Drained
from loadtest.bench.peer_run import PeerRun
from loadtest.bench.result import Result, drain_of, peer_of, show, this_machine

DRAIN = drain_of(Drained(8.0, 10.0, {"intake": 7.5, "redis": 2.5}), 500_000, {"credited": 500_000}, 1)
PEER = peer_of(PeerRun(5.0, 4.0, []), 20_000)


def test_figures_are_per_record():
    assert (DRAIN.records_per_s, DRAIN.decided_records_per_s) == (50_000, 62_500)
    assert DRAIN.cpu_us_per_record == {"intake": 15.0, "redis": 5.0}
    assert DRAIN.cpu_us_per_record_in_all == 20.0
    assert (PEER.records_per_s, PEER.cpu_us_per_record) == (4_000, 200.0)


def test_a_difference_is_shown_instead_of_the_verified_line():
    right = Result("2024-09-07", 1, this_machine(), DRAIN, PEER, 12.5, [])
    wrong = msgspec.structs.replace(right, differences=["Redis has 1 wrong balances"])
    assert "verified: ledger == redis == clickhouse" in _shown(right)
    assert "12.5 times" in _shown(right)
    assert "verified" not in _shown(wrong)
    assert "Redis has 1 wrong balances" in _shown(wrong)


def test_result_reads_back_from_its_json():
    result = Result("2024-09-07", 1, this_machine(), DRAIN, PEER, 12.5, [])
    assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result


def _shown(result: Result) -> str:
    out = io.StringIO()
    show(result, Console(file=out, width=200))
    return out.getvalue()
