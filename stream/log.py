"""One log for a whole worker process: our lines, Faust's, aiokafka's and Python's own, in one format.

On a terminal lines are for people, everywhere else each is one JSON object. What repeats itself is counted
instead of shown: with Kafka away, the two libraries alone would write 10 KB/s.
"""

import itertools
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

FOLD_S = 10.0
FILE_BYTES_MAX = 16 << 20
FILES_KEPT = 3  # older ones, beside the one that is written
_CHECK_BYTES = 64 << 10
_SHOWN = "_shown"  # marks a line that is not to be folded again

Event = MutableMapping[str, Any]


def configure_log(home: Path | None = None) -> None:
    """From now on, everything that is said in this process goes to standard error in one format.

    Where that is a file in `<home>/logs`, because `points` itself opened it, it is rotated by size.
    Tracebacks come without local variables: these hold records and secrets.
    """
    fold = Fold(tell=lambda level, text: structlog.get_logger().log(level, text, **{_SHOWN: True}))
    structlog.configure(
        processors=[structlog.processors.add_log_level, fold, *_format(sys.stderr.isatty())],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Output(_own_file(home) if home else None))),
    )
    logging.captureWarnings(True)
    logging.root.handlers = [_Records()]
    logging.root.setLevel(logging.WARNING)
    threading.Thread(target=fold.run, name="log", daemon=True).start()


def rotate(path: Path) -> None:
    """Makes room for a new file: the one that is there becomes `.1`, that one `.2`, and the oldest goes."""
    older = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, FILES_KEPT + 1))]
    for source, target in reversed(list(itertools.pairwise(older))):
        with suppress(FileNotFoundError):
            source.replace(target)


class Fold:
    """Shows the first of equal warnings and errors, counts the others, and tells the count every `FOLD_S`.

    Equal is what has the same level and text, numbers aside. Lines of level info are few, and each says
    something of its own. `tell(level, text)` writes a count.
    """

    def __init__(self, tell: Callable[[int, str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[int, str], tuple[float, int, str]] = {}  # since when, how many more, the last

    def __call__(self, _: Any, __: str, event: Event) -> Event:
        template = str(event.pop("_template", event["event"]))
        level = logging.getLevelNamesMapping()[event["level"].upper()]
        if event.pop(_SHOWN, False) or level < logging.WARNING:
            return event
        key = level, re.sub(r"\d+", "0", template)
        with self._lock:
            if key not in self._seen:
                self._seen[key] = self._clock(), 0, str(event["event"])
                return event
            since, more, _ = self._seen[key]
            self._seen[key] = since, more + 1, str(event["event"])
        raise structlog.DropEvent

    def tick(self) -> None:
        """Tells what was counted since the last time, and forgets what did not come again."""
        now = self._clock()
        with self._lock:
            told = [(key, *entry) for key, entry in self._seen.items() if entry[1]]
            self._seen = {key: (now, 0, last) for key, _, _, last in told}
        for (level, _), since, more, last in told:
            self._tell(level, f"{last} … {more} times more in {now - since:.0f} s")

    def run(self) -> None:
        """For ever, in a thread of its own: a loop that stands still must not silence the log."""
        while True:
            time.sleep(FOLD_S)
            self.tick()


class _Records(logging.Handler):
    """Lines of libraries become lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        more = {"exc_info": record.exc_info} if record.exc_info else {}
        structlog.get_logger().log(
            level, record.getMessage(), logger=record.name, _template=record.msg, **more
        )


class _Output:
    """Standard error, unbuffered. What cannot be written, because the disk is full, is not worth a worker."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._unchecked_bytes = _CHECK_BYTES

    def write(self, text: str) -> None:
        data = text.encode(errors="backslashreplace")
        with suppress(OSError):
            os.write(2, data)
            self._unchecked_bytes += len(data)
            if self._path and self._unchecked_bytes >= _CHECK_BYTES:
                self._unchecked_bytes = 0
                if os.fstat(2).st_size >= FILE_BYTES_MAX:
                    self._begin_anew(self._path)

    def flush(self) -> None:
        """Nothing waits."""

    def _begin_anew(self, path: Path) -> None:
        descriptors = [fd for fd in (1, 2) if os.path.samestat(os.fstat(fd), path.stat())]
        rotate(path)
        new = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor in descriptors:
            os.dup2(new, descriptor)
        os.close(new)


def _own_file(home: Path) -> Path | None:
    """The file in `<home>/logs` that standard error is, if it is one."""
    mine = os.fstat(2)
    for path in (home / "logs").glob("*.log"):
        with suppress(OSError):
            if os.path.samestat(path.stat(), mine):
                return path
    return None


def _format(terminal: bool) -> list[Callable]:
    if terminal:
        return [
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
    return [stamp, structlog.processors.format_exc_info, _as_json]


def _as_json(_: Any, __: str, event: Event) -> str:
    first = {key: event.pop(key) for key in ("time", "level", "event")}
    return json.dumps({**first, **event}, ensure_ascii=False, default=repr)
