"""kill -9 of the worker in the middle of inserts, on a real chDB folder; its engine goes with it."""

import pickle
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = Path(__file__).parent / "write_until_killed.py"
CHECK = """
import sys
from sinks.clickhouse.archive import ClickHouseArchive
archive = ClickHouseArchive(sys.argv[1])
print(archive.high_water(0).seq)
query = "SELECT count(), uniqExact(seq, row), sum(points_milli) FROM entries"
print(*archive._client.query(query).result_rows[0])
"""


def test_killed_at_any_moment_every_row_is_there_once(tmp_path, chains):
    blocks = chains.chain(0, [(900, 5_000)] * 40)  # one run a block
    ledger = tmp_path / "ledger"
    ledger.write_bytes(pickle.dumps([(r.value, list(r.headers)) for r in chains.records(blocks)]))
    command = [sys.executable, SCRIPT, ledger, f"chdb://{tmp_path}/chdb"]
    begun = []
    for kill_at, after_s in ((1, 0.0), (4, 0.002), (3, 0.005), (5, 0.01), (2, 0.02)):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(kill_at):
                line = process.stdout.readline().split()
                assert line[0] == "insert", line
            begun.append(int(line[1]))
            time.sleep(after_s)  # an insert takes about 0.02 s: so the blow falls before, within and after it
            process.kill()
    finished = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert finished[-1] == "done 40"
    assert int(finished[0].split()[1]) >= begun[-1] >= begun[0] + 5
    shown = subprocess.run(
        [sys.executable, "-c", CHECK, f"chdb://{tmp_path}/chdb"], check=True, capture_output=True, text=True
    ).stdout.split()
    rows = 1 + 40 * 900
    points = sum(sum(block.rows.column("points_milli").to_pylist()) for block in blocks)
    assert list(map(int, shown)) == [40, rows, rows, points]
