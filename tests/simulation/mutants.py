"""`make mutants`: each patch in mutants/ breaks one promise in a copy of the code; the simulation must
notice.

A mutant that nobody catches is a blind spot of the generator or of the checks: the tests of the tests.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATCHES = sorted((Path(__file__).parent / "mutants").glob("*.patch"))
PACKAGES = ("schemas", "sinks", "stream", "tests")
SEEDS = 2_000


def hunt(patch: Path) -> tuple[bool, str]:
    """Whether the mutant is caught, and the line that says how."""
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            shutil.copytree(
                ROOT / package, Path(folder) / package, ignore=shutil.ignore_patterns("__pycache__")
            )
        applied = subprocess.run(["git", "apply", str(patch)], cwd=folder, capture_output=True, text=True)
        if applied.returncode:
            return False, f"the patch does not fit any more: {applied.stderr.strip().splitlines()[0]}"
        command = [
            sys.executable,
            "-m",
            "tests.simulation.run",
            "--seeds",
            str(SEEDS),
            "--no-story",
            "--no-coverage",
        ]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1_200)
        lines = run.stdout.strip().splitlines() or [run.stderr.strip()[-200:]]
        return run.returncode == 1 and "fails" in lines[-1], lines[-1]


def main() -> int:
    """Hunts all mutants; exit 1 if one survives."""
    started, survivors = time.monotonic(), 0
    for patch in PATCHES:
        began = time.monotonic()
        caught, how = hunt(patch)
        survivors += not caught
        verdict, seconds = "caught  " if caught else "SURVIVES", time.monotonic() - began
        print(f"{verdict} {seconds:5.1f} s  {patch.stem}: {how[:150]}", flush=True)
    print(
        f"{len(PATCHES) - survivors} of {len(PATCHES)} mutants caught in {time.monotonic() - started:.0f} s"
    )
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
