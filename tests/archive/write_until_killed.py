"""Run as a process, to be killed: archives the ledger in a file, and says before each insert that it begins.

Usage: write_until_killed.py LEDGER DSN. LEDGER is a pickled list of (value, headers), by block of shard 0.
"""

import pickle
import sys

from schemas.ledger_record import read_record
from sinks.clickhouse.engine import Engine, EngineArchive
from stream.engine.archive_run import RunCutter


def main(ledger_file: str, dsn: str) -> None:
    with open(ledger_file, "rb") as file:
        ledger = pickle.load(file)
    archive = EngineArchive(Engine(dsn))
    mark = archive.high_water(0)
    cutter = RunCutter(0, mark)
    runs = []
    for offset in range(cutter.start, len(ledger)):
        runs += cutter.push(read_record(*ledger[offset]), offset)
    for run in filter(None, [*runs, cutter.flush()]):
        print("insert", run.first_seq, flush=True)
        mark = archive.append(run, mark)
    archive.close()
    print("done", mark.seq, flush=True)


main(*sys.argv[1:])
