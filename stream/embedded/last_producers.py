"""Who wrote to the embedded broker last, from the log of the rights it gave: known after a death, too.

The broker looks whether an app may write before it looks at what is written, and notes it; what it took is
in the app's topic a moment later. Whoever was let write and left nothing may have sent what ended it.
"""

import contextlib
import re
from pathlib import Path
from typing import NamedTuple

from schemas.topics import INTAKE_PREFIX, intake_topic

LOG = "kafka-writes.log"
WITHIN_MS = 30_000  # before the last write of all: to fill a heap took 3 s of a broker's life
APPENDED_WITHIN_MS = 50  # file times are a clock tick older than the log's
_WRITE = re.compile(
    rf"^(\d+) Principal = User:app-(\S+) is Allowed .*:{re.escape(INTAKE_PREFIX)}", re.MULTILINE
)


class LastWrite(NamedTuple):
    """The last time that an app was let write, and whether something came into its topic then."""

    app: str
    at_ms: int
    appended: bool


def of(home: Path) -> list[LastWrite]:
    """The apps that wrote last, the latest first; those that left nothing before all others."""
    text = ""
    for name in (f"{LOG}.1", LOG):
        with contextlib.suppress(OSError):
            text += (home / "logs" / name).read_text(errors="replace")
    last_ms = {app: int(at_ms) for at_ms, app in _WRITE.findall(text)}
    since_ms = max(last_ms.values(), default=0) - WITHIN_MS
    found = [
        LastWrite(app, at_ms, _appended_ms(home, app) >= at_ms - APPENDED_WITHIN_MS)
        for app, at_ms in last_ms.items()
        if at_ms >= since_ms
    ]
    return sorted(found, key=lambda write: (write.appended, -write.at_ms))


def told(found: list[LastWrite], names_max: int = 8) -> str:
    """One line about them for an operator."""
    if not found:
        return "no app wrote before"
    names = [write.app if write.appended else f"{write.app} (nothing of it was taken)" for write in found]
    more = f" and {len(names) - names_max} more" if len(names) > names_max else ""
    return f"last producers: {', '.join(names[:names_max])}{more}"


def _appended_ms(home: Path, app: str) -> float:
    """When something came into the app's topic last."""
    segments = (home / "kafka" / "data").glob(f"{intake_topic(app)}-[0-9]*/*.log")
    return max((path.stat().st_mtime_ns / 1e6 for path in segments), default=0.0)
