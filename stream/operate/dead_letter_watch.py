"""How many refused records wait for somebody while their bytes will soon be gone."""

import asyncio
import json
from collections.abc import Callable

import structlog

from stream.errors import OperatorError, in_background
from stream.operate.sql import ask, endpoint_of
from stream.settings import Settings

log = structlog.get_logger()
OLD_DAYS, GONE_DAYS = 20, 30  # the intake topics keep a record for 30 days
FIRST_LOOK_S, LOOK_S = 60.0, 3_600.0
_SQL = f"""
SELECT app, sum(last_offset - offset + 1) AS records FROM dead_letters_open
WHERE broker_time < subtractDays(now(), {OLD_DAYS}) AND broker_time > subtractDays(now(), {GONE_DAYS})
GROUP BY app ORDER BY app
"""  # noqa: S608 - our own numbers


def old_dead_letters(settings: Settings) -> dict[str, int]:
    """By app, the records refused more than 20 days ago that were neither replayed nor dismissed, and whose
    bytes are not gone yet. Raises OperatorError if the archive does not answer."""
    body, _ = ask(endpoint_of(settings), _SQL, "JSON")
    return {row["app"]: int(row["records"]) for row in json.loads(body)["data"]}


class DeadLetterWatch:
    """Looks once an hour, beside the archive worker, as any analyst would."""

    def __init__(self, look: Callable[[], dict[str, int]], tell: Callable[[dict[str, int]], None]) -> None:
        self._look, self._tell = look, tell
        self._task: asyncio.Task | None = None

    async def start(self) -> None:
        """Begins."""
        self._task = in_background(self._run())

    async def stop(self) -> None:
        """Ends."""
        if self._task:
            self._task.cancel()

    async def _run(self) -> None:
        await asyncio.sleep(FIRST_LOOK_S)
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Looks once; what cannot be known now is not told."""
        try:
            self._tell(await asyncio.to_thread(self._look))
        except OperatorError as error:
            log.warning("how many refused records wait is not known now", why=error.message)
