"""ClickHouse as an analyst meets it: SQL over HTTP, answered by the archive worker's read-only endpoint."""

import time
from collections import Counter
from collections.abc import Callable

from loadtest.demo.figures import Figures
from loadtest.demo.reports import APPS
from stream.errors import OperatorError
from stream.operate.sql import ask, endpoint_of
from stream.settings import Settings

# A killed archive worker's shards are assigned anew after the broker's session time-out of 10 s.
CATCH_UP_TIMEOUT_S = 90.0
POLL_INTERVAL_S = 0.25

# What the demo shows of SQL: a question, and how an analyst asks it.
QUERIES = (
    (
        "What did each app bring on each day?",
        "SELECT day, app, records, people, round(a.reduction_mg / 1e9, 3) AS t_co2e,\n"
        "       round(a.points_milli / 1e3) AS points\n"
        "FROM app_per_day AS a ORDER BY day, app",
    ),
    (
        "When do people travel low-carbon?",
        "SELECT toHour(occurred_at) AS hour, app, count() AS behaviours,\n"
        "       round(sum(e.reduction_mg) / 1e9, 3) AS t_co2e\n"
        "FROM entries AS e WHERE e.reduction_mg > 0 GROUP BY hour, app ORDER BY hour, app",
    ),
    (
        "Which app has the trips that two apps reported, and how long before the other came?",
        "SELECT app AS winner, loser, count() AS trips,\n"
        "       round(median(first_lost_at - time), 3) AS median_s\n"
        "FROM claims ARRAY JOIN lost_apps AS loser WHERE loser != app\n"
        "GROUP BY winner, loser ORDER BY winner, loser",
    ),
    (
        "Which refusals are the most frequent, and what do they say?",
        "SELECT app, verdict, any(detail) AS example, count() AS records\n"
        "FROM entries WHERE detail != '' AND app != ''\n"
        "GROUP BY app, verdict ORDER BY records DESC LIMIT 5",
    ),
)


class ArchiveQuery:
    """Rows of text: what ClickHouse sends as TabSeparatedWithNames."""

    def __init__(self, settings: Settings) -> None:
        self._endpoint = endpoint_of(settings)

    def ask(self, sql: str) -> tuple[list[str], list[list[str]]]:
        """Column names and rows. Raises OperatorError if nobody answers, or if ClickHouse refuses."""
        body, _ = ask(self._endpoint, sql, "TabSeparatedWithNames")
        names, *rows = [line.split("\t") for line in body.decode().splitlines()] or [[]]
        return names, rows

    def wait_for(self, seqs: dict[int, int], check: Callable[[], None]) -> None:
        """Returns once the archive holds every shard up to its block in `seqs`."""
        deadline_s = time.monotonic() + CATCH_UP_TIMEOUT_S
        while True:
            check()
            try:
                _, rows = self.ask("SELECT shard, max(seq) FROM entries GROUP BY shard")
            except OperatorError:
                if time.monotonic() > deadline_s:
                    raise
                rows = []  # the worker is still starting
            archived = {int(shard): int(seq) for shard, seq in rows}
            if all(archived.get(shard, -1) >= seq for shard, seq in seqs.items()):
                return
            if time.monotonic() > deadline_s:
                raise OperatorError(
                    f"The archive does not hold the ledger's last blocks after {CATCH_UP_TIMEOUT_S:.0f} s: "
                    f"blocks {archived} of {seqs}.",
                    "look at logs/archive.log in the data folder: the worker says there why it waits.",
                )
            time.sleep(POLL_INTERVAL_S)

    def figures(self) -> Figures:
        """What the archive holds of the demo's own apps, in sum."""
        lots: dict[str, dict[str, int]] = {}
        _, rows = self.ask("SELECT uid, expires_on, points_milli FROM lots WHERE points_milli != 0")
        for uid, expires_on, milli in rows:
            lots.setdefault(uid, {})[expires_on] = int(milli)
        _, rows = self.ask("SELECT app, verdict, count() FROM entries WHERE app != '' GROUP BY app, verdict")
        verdicts = Counter({(app, verdict): int(count) for app, verdict, count in rows if app in APPS})
        _, rows = self.ask(
            "SELECT app, sum(e.reduction_mg), sum(e.points_milli) "
            "FROM entries AS e WHERE app != '' GROUP BY app"
        )
        reduction_mg = Counter({app: int(mg) for app, mg, _ in rows if app in APPS})
        points_milli = Counter({app: int(milli) for app, _, milli in rows if app in APPS})
        return Figures(lots, verdicts, reduction_mg, points_milli)
