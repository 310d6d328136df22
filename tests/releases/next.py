"""The next release, beside this one in one process: a copy of this code with tests/releases/next.patch.

It adds a column, in format 2, and a kind of command. What stands outside of both, ports and their errors, is
shared, as Kafka and Redis are: the simulation's ports serve workers of either.
"""

import functools
import importlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from tests.releases.release import PRESENT, Release

ROOT = Path(__file__).parents[2]
PATCH = Path(__file__).with_name("next.patch")
COPIED = ("schemas", "stream")
SHARED = ("stream.errors", "stream.batches")  # beside all of `sinks`
ENTRIES = (
    "schemas.formats",
    "schemas.outcome",
    "schemas.rules",
    "stream.core.decide",
    "stream.engine.archive",
    "stream.engine.intake",
)


@functools.cache
def next_release() -> Release:
    """The code of the next release, loaded once."""
    for name in ENTRIES:
        PRESENT[name]  # all that is shared is loaded from here
    with tempfile.TemporaryDirectory() as folder:
        for package in COPIED:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, Path(folder) / package, ignore=ignored)
        applied = subprocess.run(["git", "apply", PATCH], cwd=folder, capture_output=True, text=True)
        assert applied.returncode == 0, f"next.patch does not fit any more: {applied.stderr}"
        loaded = _loaded_from(folder)
    return Release(loaded.__getitem__)


def _is_own(name: str) -> bool:
    """Whether each release has this module for itself."""
    parts = name.split(".")
    return parts[0] in COPIED and ".".join(parts[:2]) not in SHARED


def _loaded_from(folder: str) -> dict[str, ModuleType]:
    """Imports a release's modules from a folder; those of this one are put back in their place afterwards."""
    present = {name: module for name, module in sys.modules.items() if _is_own(name)}
    before = set(sys.modules)
    for name in present:
        del sys.modules[name]
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        for name in ENTRIES:
            importlib.import_module(name)
        loaded = {name: module for name, module in sys.modules.items() if _is_own(name)}
    finally:
        sys.path.remove(folder)
        for name in [name for name in sys.modules if _is_own(name)]:
            del sys.modules[name]
        sys.modules.update(present)
    mixed = {name for name in set(sys.modules) - before if name.startswith("sinks")}
    assert not mixed, f"shared, and loaded with the next release's code: {mixed}"
    return loaded
