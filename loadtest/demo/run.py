"""The demo from taps to result: read this first to see what `points demo` does."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from loadtest.apps import with_apps
from loadtest.demo.archive_query import QUERIES, ArchiveQuery
from loadtest.demo.figures import Figures, differences
from loadtest.demo.generator import Manifest, Saturday, saturday_of
from loadtest.demo.races import settled
from loadtest.demo.replay import Kill, Replay
from loadtest.demo.reports import APPS, Behaviours, behaviours_of, saturdays
from loadtest.demo.result import Answered, Result
from loadtest.demo.rogue import ROGUE, Account, Rogue, account_of, read_outcomes
from loadtest.demo.rogue import differences as rogue_differences
from loadtest.demo.screen import Screen
from loadtest.demo.story import story_of
from loadtest.demo.taps import read_taps
from loadtest.demo.workers import NAMES, Workers
from loadtest.environment import inherited
from schemas.report import date_of_day
from stream.errors import OperatorError
from stream.operate import stack
from stream.operate.platform.onboarding import QUOTA, onboard
from stream.operate.projection import open_projection
from stream.settings import Settings

ORACLE = Path(__file__).with_name("oracle")
ORACLE_TIMEOUT_S = 300.0
READ_TIMEOUT_S = 60.0


class Options(NamedTuple):
    """What the demo was asked to do."""

    taps: Path
    home: Path
    saturdays: int
    kills: list[Kill]
    keep: bool
    hostile: bool = False


def run(options: Options, screen: Screen) -> Result:
    """Taps -> reports -> the running platform -> five accounts of the same points, compared.

    Raises OperatorError, or TapsError for a file that cannot be read.
    """
    screen.step(f"reading {options.taps}")
    taps = read_taps(options.taps)
    behaviours = behaviours_of(taps)
    with platform(options, screen) as (settings, workers):
        screen.step("making the reports")
        sent = make_records(options, settings, behaviours)
        with closing(Replay(settings, workers, sent, options.kills)) as replay:
            screen.show_bars({app: sum(saturday.count(app) for saturday in sent) for app in APPS})
            with hostile_beside(options, settings) as rogue:
                replay.run(screen, begun=rogue.start if rogue else None)
            screen.hide_bars()
            account = hostile_account(rogue, workers, screen) if rogue else None

            screen.step("asking the oracle, the ledger, Redis and ClickHouse")
            oracle = start_oracle(options)
            ledger = replay.audit.read_to_end(READ_TIMEOUT_S)
            archive = ArchiveQuery(settings)
            archive.wait_for(replay.audit.seqs, workers.check)
            predicted = answer_of(oracle)
            outcomes = [o for client in replay.clients.values() for o in client.outcomes.values()]
            parts = {
                "oracle": settled(predicted, outcomes),
                "redis": asyncio.run(redis_figures(settings)),
                "ledger": ledger,
                "clickhouse": archive.figures(),
                "outcomes": replay.outcome_figures(),
            }
            found = differences(parts) + (rogue_differences(account, replay.audit.others) if account else [])
            return Result(
                options.home,
                options.taps,
                taps,
                behaviours,
                replay.clients,
                parts,
                found,
                predicted["races"],
                story_of(taps.taps, replay.clients.values(), parts["redis"].lots),
                [Answered(question, sql, *archive.ask(sql)) for question, sql in QUERIES],
                replay.timed,
                replay.cpu_s,
                workers.kills,
                account,
            )


@contextmanager
def platform(options: Options, screen: Screen) -> Iterator[tuple[Settings, Workers]]:
    """The embedded stack with both workers, on a simulated clock; stopped at the end unless it is kept."""
    environment = inherited() | {"POINTS_HOME": str(options.home), "POINTS_SIMULATED_CLOCK": "1"}
    screen.say(f"data folder: {options.home}")
    try:
        settings = with_apps(stack.up(options.home, environment, screen.step), progress=screen.step)
        workers = Workers(options.home, environment)
        for name in NAMES:
            screen.step(f"starting the {name} worker")
            workers.start(name)
        yield settings, workers
    finally:
        if not options.keep:
            stack.down(options.home, screen.step)


@contextmanager
def hostile_beside(options: Options, settings: Settings) -> Iterator[Rogue | None]:
    """The fourth app, if it was asked for, from its registration to its last round; the replay starts it."""
    if not options.hostile:
        yield None
        return
    settings = onboard(settings, ROGUE, QUOTA)
    rogue = Rogue(settings)
    try:
        yield rogue
    finally:
        rogue.stop()


def hostile_account(rogue: Rogue, workers: Workers, screen: Screen) -> Account:
    """What became of each record of the fourth app."""
    screen.step(f"waiting for the outcomes of {ROGUE.id}")
    outcomes = read_outcomes(rogue.settings, rogue.spans, workers.check)
    return account_of(rogue.spans, outcomes, rogue.refused_batches)


def make_records(options: Options, settings: Settings, behaviours: Behaviours) -> list[Saturday]:
    """Everything that the apps will send, written to the manifest."""
    dates = saturdays(options.saturdays)
    manifest = Manifest(manifest_path(options.home), settings.shards)
    sent = []
    for date in dates:
        first, last = date == dates[0], date == dates[-1]
        sent.append(saturday_of(behaviours.reported, date, settings.shards, is_first=first, is_last=last))
        manifest.add(sent[-1])
    return sent


def manifest_path(home: Path) -> Path:
    """Where a run writes down what it sent."""
    return home / "manifest.jsonl"


def start_oracle(options: Options) -> subprocess.Popen:
    """The oracle as a program of its own (-I: it cannot import the project even if it wanted to)."""
    command = [sys.executable, "-I", str(ORACLE), str(options.taps), str(manifest_path(options.home))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def answer_of(oracle: subprocess.Popen) -> dict:
    """What the oracle predicts."""
    out, errors = oracle.communicate(timeout=ORACLE_TIMEOUT_S)
    if oracle.returncode:
        raise OperatorError(
            f"The oracle gave no prediction: {errors.decode(errors='replace').strip()}",
            "keep the data folder: the demo's generator or its oracle has a defect.",
        )
    return json.loads(out)


async def redis_figures(settings: Settings) -> Figures:
    """Every person's lots in Redis."""
    async with open_projection(settings) as store:
        persons = [await store.persons(shard) for shard in range(settings.shards)]
    lots = {
        uid: {date_of_day(day).isoformat(): milli for day, milli in person.lots.items()}
        for shard in persons
        for uid, person in shard.items()
    }
    return Figures(lots, None, None, None)
