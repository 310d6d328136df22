"""`make simulate`: many seeds, each another history; a failing one is shrunk and told as a short story."""

import argparse
import gc
import logging
import multiprocessing
import random
import re
import sys
import time
from collections import Counter
from typing import NamedTuple

import structlog

from tests.releases.next import next_release
from tests.simulation.chance import Chance
from tests.simulation.checks import check
from tests.simulation.loop import Stuck
from tests.simulation.services import Violation
from tests.simulation.world import World

RECORDS = 50
STORY_LINES = 30
SHRINK_TRIES_MAX = 200


class Outcome(NamedTuple):
    """What became of one seed."""

    seed: int
    failure: str | None
    seen: Counter
    fired: list[str]
    story: list[str]


def simulate(seed: int, records: int = RECORDS, only: frozenset[str] | None = None) -> Outcome:
    """One run. The same seed, commit and faults give the same run."""
    random.seed(seed)  # the workers draw the jitter of their retries
    chance = Chance(seed, only)
    world = World(chance)
    failure = None
    try:
        world.run(records)
        check(world)
    except (Violation, Stuck, AssertionError) as error:
        failure = f"{type(error).__name__}: {error}"
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    world.seen.update(f"fault: {fault.rpartition('#')[0]}" for fault in chance.fired)
    return Outcome(seed, failure, world.seen, chance.fired, world.told[-STORY_LINES:])


def shrink(seed: int) -> tuple[int, Outcome]:
    """The fewest records and faults with which the seed still fails in the same way: (records, outcome)."""
    outcome, records, tries = simulate(seed), RECORDS, 0
    kind = re.sub(r"[0-9]+|b'.*", "", outcome.failure)[:60]

    def fails(fewer: int, faults: list[str]) -> Outcome | None:
        nonlocal tries
        tries += 1
        found = simulate(seed, fewer, frozenset(faults))
        same = found.failure and re.sub(r"[0-9]+|b'.*", "", found.failure)[:60] == kind
        return found if same and tries <= SHRINK_TRIES_MAX else None

    while records > 1 and (found := fails(records // 2, outcome.fired)):
        outcome, records = found, records // 2
    part = max(1, len(outcome.fired) // 2)
    while part:
        for start in range(0, len(outcome.fired), part):
            found = fails(records, outcome.fired[:start] + outcome.fired[start + part :])
            if found:
                outcome = found
                break
        else:
            part //= 2
    return records, outcome


def tell(seed: int) -> None:
    """Prints the story of a failing seed, shrunk."""
    records, outcome = shrink(seed)
    print(f"\nseed {seed} fails, shrunk to {records} records and {len(outcome.fired)} faults:")
    print(f"  {outcome.failure}\n  faults: {', '.join(outcome.fired) or 'none'}\n  the last steps:")
    print("\n".join(f"    {line}" for line in outcome.story))
    print(f"  again: python -m tests.simulation.run --seed {seed}")


def _quiet() -> None:
    next_release()  # loaded once, and then as little looked at as all other code
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)  # a fifth of the time, otherwise, for next to no garbage in cycles
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)


def main() -> int:
    """Runs seeds until they or the minutes are used up; exit 1 at a failure or an unmet situation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000)
    parser.add_argument("--from-seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, help="one seed, shrunk and told if it fails")
    parser.add_argument("--no-coverage", action="store_true", help="do not ask that every situation was met")
    parser.add_argument("--no-story", action="store_true", help="name a failing seed, and stop")
    options = parser.parse_args()
    _quiet()
    if options.seed is not None:
        outcome = simulate(options.seed)
        if outcome.failure:
            tell(options.seed)
        return bool(outcome.failure)
    return _many(options)


def _many(options: argparse.Namespace) -> int:
    started, seen, done = time.monotonic(), Counter(), 0
    seeds = range(options.from_seed, options.from_seed + options.seeds)
    with multiprocessing.Pool(initializer=_quiet) as pool:
        for outcome in pool.imap_unordered(simulate, seeds, chunksize=4):
            done += 1
            seen += outcome.seen
            if outcome.failure:
                pool.terminate()
                print(f"after {done} seeds: seed {outcome.seed} fails: {outcome.failure}")
                if not options.no_story:
                    tell(outcome.seed)
                return 1
            if done % 200 == 0:
                print(f"{done} seeds, {done / (time.monotonic() - started):.0f}/s", flush=True)
            if time.monotonic() - started > options.minutes * 60:
                break
    return _report(done, time.monotonic() - started, seen, options.no_coverage)


def _report(done: int, seconds: float, seen: Counter, no_coverage: bool) -> int:
    from tests.simulation.coverage import SITUATIONS

    missing = [s for s in SITUATIONS if not seen[s]]
    print(f"{done} seeds in {seconds:.0f} s, no promise broken. Situations met:")
    for situation, times in sorted(seen.items()):
        print(f"  {times:>9,}  {situation}")
    if missing and not no_coverage:
        print(f"never met: {', '.join(missing)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
