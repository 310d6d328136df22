"""Batches with one fault each, by structure: fields, counts, lengths, codecs, tails. `make fuzz N=1000000`.

What must hold for each: nothing is raised but Damaged, and that only for what no app can send; a batch is
exactly next - base values, or Unreadable for one of a few reasons; the fast parser agrees with the exact
one; the good batch before it is read; and the process stays within its memory.
"""

import resource
import sys
import time
from collections import Counter
from pathlib import Path

from schemas.limits import BATCH_RECORDS_MAX, BATCH_UNPACKED_BYTES_MAX, MIB
from stream.batches import records, unpack
from stream.batches.reader import Batch, Damaged, Unreadable, batches_of, values_of
from stream.batches.unpack import CODECS
from tests.batches import making
from tests.batches.faults import APP_KINDS, KINDS, MAY_BE_DAMAGED, WIRE_KINDS, Random

ADDRESS_SPACE_BYTES = 1024 * MIB
BATCH_MEMORY_BYTES_MAX = 96 * MIB  # beyond its fetch: packed pieces, whole, columns and values of 16 MiB each
REASONS = {
    *("no time of the broker", "another number of records than of offsets", "unknown codec"),
    *("more records than a batch may have", "fewer bytes than its records need", "a record beyond the end"),
    *("offsets of records out of order", "a field beyond its record", "a record that its fields do not fill"),
    *("bytes behind the last record", "a number of headers that cannot be", "a header without a key"),
    *("a number of too many bytes", unpack.DAMAGED, unpack.CUT_OFF, unpack.TOO_LARGE, unpack.TOO_MANY),
}

BEFORE = making.of([b"before"] * 3)


def check(kind: str, rng: Random) -> str:
    """One case of a kind, between good batches: what became of it."""
    batches = [APP_KINDS[kind](rng).fetched(3)] if kind in APP_KINDS else WIRE_KINDS[kind](rng)
    fetch = making.fetch(
        BEFORE, *batches, first=rng.randrange(3), aborted=[(7, 3)] if rng.random() < 0.5 else []
    )
    try:
        before, *found = batches_of(fetch)
    except Damaged:
        assert kind in MAY_BE_DAMAGED, kind
        return "damaged"
    assert values_of(before) == [b"before"] * 3
    outcomes = [check_batch(batch) for batch in found]
    return outcomes[0] if outcomes else "left out"


def check_batch(batch: Batch) -> str:
    values = values_of(batch)
    if isinstance(values, Unreadable):
        assert values.reason in REASONS, values
        assert values.codec in CODECS or values.codec.startswith("codec "), values
        return "unreadable"
    assert len(values) == batch.next - batch.base == batch.claimed <= BATCH_RECORDS_MAX
    assert {type(value) for value in values} == {bytes}
    assert sum(map(len, values)) <= BATCH_UNPACKED_BYTES_MAX
    data = bytes(unpack.unpack(batch.codec, batch.payload, BATCH_UNPACKED_BYTES_MAX))
    assert values == records.values_exact(data, batch.claimed)
    assert records.values_fast(data, batch.claimed) in (None, values)
    return "read"


def run(cases: int, seed: int) -> dict[str, Counter]:
    """What became of `cases` cases, by kind."""
    outcomes = {kind: Counter() for kind in KINDS}
    for i in range(cases):
        kind = KINDS[i % len(KINDS)]
        rng = Random(f"{seed} {i}")
        try:
            outcomes[kind][check(kind, rng)] += 1
        except BaseException:
            print(f"case {i} of seed {seed}: {kind}", file=sys.stderr)
            raise
    return outcomes


def main() -> None:
    """Arguments: how many cases, and a seed."""
    cases, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resident_bytes, started = peak_bytes(), time.monotonic()
    outcomes = run(cases, seed)
    names = ("read", "unreadable", "damaged", "left out")
    print(f"{'kind':30}{'cases':>10}" + "".join(f"{name:>12}" for name in names))
    for kind, counted in outcomes.items():
        print(f"{kind:30}{counted.total():>10,}" + "".join(f"{counted[name]:>12,}" for name in names))
    grown_bytes = peak_bytes() - resident_bytes
    total = sum(counted.total() for counted in outcomes.values())
    print(
        f"\n{total:,} cases of {len(KINDS)} kinds, seed {seed}, {time.monotonic() - started:.0f} s;", end=" "
    )
    print(
        f"at most {grown_bytes / MIB:.0f} MiB for a batch; address space of {ADDRESS_SPACE_BYTES // MIB} MiB"
    )
    assert grown_bytes <= BATCH_MEMORY_BYTES_MAX


def peak_bytes() -> int:
    """The most memory that this process has had. (getrusage's includes the process that started it.)"""
    if (status := Path("/proc/self/status")).exists():
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
