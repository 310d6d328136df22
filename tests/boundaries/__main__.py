"""`python -m tests.boundaries [MODULE or TESTS...]`: breaks what decides; a test must notice.

One comparison at a time, and what stands beside it. Without modules: all of `DECIDES`; without tests (paths
below tests/): all of `TESTS`. Exit 1 if a variant survives that equivalent.toml does not explain, or if that
file explains what is not there.

Own code, as of what is published mutmut asks for a newer click than Faust allows and lets nobody choose the
operators, and cosmic-ray writes each variant into the working tree and starts Python anew for it, which takes
an hour for a thousand.
"""

import sys
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.boundaries.hunt import ROOT, Hunt
from tests.boundaries.variants import Variant, variants_of

# What decides, or reads what decides. Not what makes documents of it: that is compared as a whole.
DECIDES = ("schemas/**/*.py", "stream/core/**/*.py", "stream/batches/*.py")
OTHERS = ("schemas/asyncapi.py", "schemas/export.py")
TESTS = ("tests/unit", "tests/batches", "tests/model")  # none of them needs a service
EQUIVALENT = Path(__file__).with_name("equivalent.toml")

Named = tuple[str, str, str, str]


def main(paths: list[str]) -> int:
    """Hunts the variants of these modules with these tests."""
    files = [path for path in paths if not path.startswith("tests/")]
    tests = [path for path in paths if path.startswith("tests/")] or TESTS
    began = time.monotonic()
    variants = [v for file in files or deciding() for v in variants_of(ROOT, file)]
    explained = equivalent()
    hunt = Hunt([v for v in variants if named(v) not in explained])
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    code = pytest.main([*options, *(str(ROOT / each) for each in tests)], [hunt])
    stale = [] if files else explained - {named(v) for v in variants}
    for each in stale:
        print(f"explains nothing any more: {each}")
    print(
        f"{len(variants)} variants, {len(variants) - len(hunt.variants)} of them equivalent,"
        f" {len(hunt.survivors)} survive; {time.monotonic() - began:.0f} s"
    )
    return int(bool(code or hunt.survivors or stale))


def deciding() -> Iterable[str]:
    """The modules that decide, from the project's root."""
    found = {str(path.relative_to(ROOT)) for glob in DECIDES for path in ROOT.glob(glob)}
    return sorted(found - {*OTHERS})


def equivalent() -> set[Named]:
    """The variants that no test can notice, each with a reason."""
    entries = tomllib.loads(EQUIVALENT.read_text())["equivalent"]
    return {
        (each["file"], each["function"], each["code"], becomes)
        for each in entries
        for becomes in each["becomes"]
    }


def named(variant: Variant) -> Named:
    return variant.file, variant.function, variant.code, variant.becomes


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
