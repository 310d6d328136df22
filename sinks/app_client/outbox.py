"""The file in which an app's records stay until they are answered, and their answers for some time after.

One SQLite file for one process. Whatever is said here holds through kill -9 and loss of power: every method
is one transaction, on disk when it returns. The states of a record:

    queued ──▶ in flight ──▶ sent ──▶ answered
      ▲            │           │
      └────────────┴───────────┘  not delivered, or crashed: `doubt`; a verdict to retry: later

A copy's place is (topic id, partition, offset): offsets of a topic that was made again are others. `doubt`
says that a copy may lie on the broker at a place that nobody knows. Outcomes are applied only while nothing
is in flight; so an outcome at a place that is no record's own is of such a copy, or is not ours.
"""

import sqlite3
from pathlib import Path
from typing import NamedTuple

import msgspec

from schemas.codec import read_report
from schemas.outcome import VERSION, Outcome
from schemas.report import DAY_MS, Report, to_ms
from schemas.shards import shards_of
from sinks.app_client.errors import ClientError, IdTakenError, OutboxFullError
from sinks.app_client.outbox_file import OutboxFile
from sinks.app_client.records import Record
from sinks.app_client.standing import (
    EXPIRED,
    SENT_AGAIN,
    Answer,
    Standing,
    answer_of,
    retry_delay_ms,
    standing_of,
    state_after,
)

KEPT_MS = 30 * DAY_MS  # an answer, from its day on
FAILED_DELAY_MS = 2_000  # the broker refused it at once, such as while rights are being set up
TELL_MAX = 1_000


class Outcomes(NamedTuple):
    """The outcomes topic as a session finds it. `bounds`: where each partition begins and ends now."""

    cluster_id: str
    topic_id: str
    bounds: dict[int, tuple[int, int]]


class Delivered(NamedTuple):
    """Where the broker has put a copy of a record."""

    topic_id: str
    partition: int
    offset: int
    report_id: str


class Arrived(NamedTuple):
    """One record of the outcomes topic: where it lies, and what it says."""

    partition: int
    offset: int
    uid: str
    outcome: Outcome
    value: bytes


class Outbox:
    """`capacity`: how many records may be unanswered. Thread-safe; no other process can open the file.

    Without `retry` the verdicts that the client would retry are answers.
    """

    def __init__(self, path: Path, app: str, capacity: int, retry: bool = True) -> None:
        self._capacity, self._retry = capacity, retry
        self._file = OutboxFile(path, app)
        with self._file.transaction() as db:
            db.execute("UPDATE record SET told = 0 WHERE told = 2")
            self._count(db)

    def _count(self, db: sqlite3.Connection) -> None:
        [(self._unanswered,)] = db.execute("SELECT COUNT(*) FROM record WHERE state <> 'answered'")

    # --- the app's side ---------------------------------------------------------------------------------

    def add(self, records: list[Record]) -> None:
        """Takes all of these records, or none. One that is here already is not taken twice; it goes out again
        only if its answer lets it. Raises `OutboxFullError`, `IdTakenError`."""
        added = 0
        with self._file.transaction() as db:
            for record in records:
                found = db.execute(
                    "SELECT n, value, state, verdict FROM record WHERE id = ?", (record.report_id,)
                ).fetchone()
                if found is None:
                    db.execute("INSERT INTO record (id, uid, value) VALUES (?, ?, ?)", record)
                    added += 1
                    continue
                n, value, state, verdict = found
                if value != record.value:
                    raise IdTakenError("report_id: another record has it; an id names one record for ever")
                if state == "answered" and standing_of(verdict) in SENT_AGAIN:
                    db.execute(
                        "UPDATE record SET state = 'queued', due_ms = 0, verdict = '' WHERE n = ?", (n,)
                    )
                    added += 1
            if added and self._unanswered + added > self._capacity:
                raise OutboxFullError(f"{self._unanswered} records are unanswered, at most {self._capacity}")
            self._unanswered += added

    def answer(self, report_id: str) -> Answer | None:
        """The answer to a record, None while there is none. Raises KeyError for an id that is not here."""
        rows = self._file.rows("SELECT state, outcome FROM record WHERE id = ?", (report_id,))
        if not rows:
            raise KeyError("no such report_id in this outbox")
        [(state, outcome)] = rows
        return answer_of(report_id, outcome) if state == "answered" else None

    def pending(self) -> dict[str, int]:
        """How many records are unanswered, by state; those that wait to be sent again by their verdict."""
        rows = self._file.rows(
            "SELECT CASE WHEN state = 'queued' AND verdict <> '' THEN verdict ELSE state END, COUNT(*)"
            " FROM record WHERE state <> 'answered' GROUP BY 1"
        )
        return dict(rows)

    def undelivered(self) -> int:
        """How many records the broker has not acknowledged; without those that wait to be sent again."""
        pending = self.pending()
        return pending.get("queued", 0) + pending.get("in flight", 0)

    # --- the broker's side ------------------------------------------------------------------------------

    def begin_session(self, outcomes: Outcomes, now_ms: int) -> dict[int, int]:
        """From which offset to read each partition of the outcomes.

        A new outbox reads from the end on, as nothing of it was sent. What an earlier session, or process,
        left in flight is in doubt and goes out again, the same bytes under the same id.
        """
        bounds = outcomes.bounds
        with self._file.transaction() as db:
            db.execute("UPDATE record SET state = 'queued', doubt = 1 WHERE state = 'in flight'")
            [(cluster_id, topic_id)] = db.execute("SELECT cluster_id, outcomes_id FROM owner")
            if cluster_id not in ("", outcomes.cluster_id):
                raise ClientError("this is another platform's Kafka: begin with a new outbox")
            read_to = dict(db.execute("SELECT partition, next FROM cursor"))
            if topic_id in ("", outcomes.topic_id):
                starts = {p: max(low, read_to.get(p, high)) for p, (low, high) in bounds.items()}
                missed = {p for p, start in starts.items() if start > read_to.get(p, start)}
            else:  # made again: what the one before still held is gone
                starts = {p: low for p, (low, _) in bounds.items()}
                missed = set(read_to)
            if any(start > bounds[p][1] for p, start in starts.items()):
                raise ClientError(
                    "the outcomes end before what was read of them: the platform lost records; ask its"
                    " operators, or begin with a new outbox"
                )
            db.execute(
                "UPDATE owner SET cluster_id = ?, outcomes_id = ?", (outcomes.cluster_id, outcomes.topic_id)
            )
            self._expire(db, missed, len(bounds), now_ms)
            _move(db, starts)
            db.execute("DELETE FROM record WHERE state = 'answered' AND answered_ms < ?", (now_ms - KEPT_MS,))
            self._count(db)  # anew: what failed before may have counted what was rolled back
        return starts

    def _expire(self, db: sqlite3.Connection, missed: set[int], shards: int, now_ms: int) -> None:
        """Outcomes of these partitions were deleted unread, so no later one of a record there can be trusted:
        a copy sent now might be `too_late` where the first was credited."""
        if not missed:
            return
        rows = db.execute(
            "SELECT n, id, uid FROM record WHERE state = 'sent' OR (state = 'queued' AND doubt = 1)"
        ).fetchall()
        for (n, report_id, _), shard in zip(
            rows, shards_of([uid for _, _, uid in rows], shards), strict=True
        ):
            if shard in missed:
                detail = "its outcome was deleted before this client read it"
                lost = Outcome(
                    VERSION, report_id, EXPIRED, detail, 0, 0, 0, "", "", "", shard, 0, 0, shard, 0, 0
                )
                self._answer(db, n, EXPIRED, msgspec.json.encode(lost), now_ms)

    def take_due(self, now_ms: int, limit: int) -> list[Record]:
        """The next records to send, in the order in which they were handed over; they are in flight now."""
        due = self._file.rows(
            "SELECT n, id, uid, value FROM record WHERE state = 'queued' AND due_ms <= ?"
            " ORDER BY due_ms, n LIMIT ?",
            (now_ms, limit),
        )
        if due:
            with self._file.transaction() as db:
                db.executemany(
                    "UPDATE record SET state = 'in flight', topic_id = NULL, partition = NULL, offset = NULL"
                    " WHERE n = ?",
                    [(n,) for n, *_ in due],
                )
        return [Record(*rest) for _, *rest in due]

    def end_flight(self, delivered: list[Delivered], failed: list[str], now_ms: int) -> None:
        """What came of records in flight: those that the broker has, and those that it may have."""
        with self._file.transaction() as db:
            db.executemany(
                "UPDATE record SET state = 'sent', topic_id = ?, partition = ?, offset = ? WHERE id = ?",
                delivered,
            )
            db.executemany(
                "UPDATE record SET state = 'queued', doubt = 1, due_ms = ? WHERE id = ?",
                [(now_ms + FAILED_DELAY_MS, report_id) for report_id in failed],
            )

    def follow(self, arrived: list[Arrived], now_ms: int) -> None:
        """Applies outcomes, in the order of their partitions. Nothing may be in flight."""
        with self._file.transaction() as db:
            for one in arrived:
                self._apply(db, one, now_ms)
            _move(db, {one.partition: one.offset + 1 for one in arrived})

    def _apply(self, db: sqlite3.Connection, arrived: Arrived, now_ms: int) -> None:
        o = arrived.outcome
        columns = "SELECT n, value, tries FROM record"
        # Of a range of offsets it is said of every record that lies in it.
        found = own_place = db.execute(
            f"{columns} WHERE state = 'sent' AND topic_id = ? AND partition = ? AND offset BETWEEN ? AND ?"
            " AND ? IN ('', id) ORDER BY offset",
            (o.topic_id, o.partition, o.offset, o.last_offset, o.report_id),
        ).fetchall()
        if not found:
            found = db.execute(
                f"{columns} WHERE id = ? AND uid = ? AND doubt = 1 AND state <> 'answered'",
                (o.report_id, arrived.uid),
            ).fetchall()
        standing = standing_of(o.verdict)
        if standing is Standing.RETRIED and not self._retry:
            standing = Standing.HELD
        after = state_after(standing, bool(own_place))
        for n, value, tries in found:
            if after == "answered":
                self._answer(db, n, o.verdict, arrived.value, now_ms)
            elif after == "queued":
                # Not before the behaviour itself by our clock, either: it may be `occurred_in_future`.
                report = read_report(value)
                assert isinstance(report, Report), "it was when it was handed over"
                due_ms = max(now_ms + retry_delay_ms(tries), to_ms(report.occurred_at))
                db.execute(
                    "UPDATE record SET state = 'queued', tries = tries + 1, due_ms = ?, verdict = ?"
                    " WHERE n = ?",
                    (due_ms, o.verdict, n),
                )

    def _answer(self, db: sqlite3.Connection, n: int, verdict: str, outcome: bytes, now_ms: int) -> None:
        db.execute(
            "UPDATE record SET state = 'answered', told = 0, verdict = ?, outcome = ?, answered_ms = ?"
            " WHERE n = ?",
            (verdict, outcome, now_ms, n),
        )
        self._unanswered -= 1

    def untold(self) -> list[Answer]:
        """Answers that the app was not told yet, oldest record first."""
        rows = self._file.rows(
            "SELECT id, outcome FROM record WHERE state = 'answered' AND told = 0 ORDER BY n LIMIT ?",
            (TELL_MAX,),
        )
        return [answer_of(*row) for row in rows]

    def mark_told(self, told: list[str], failed: list[str]) -> None:
        """The app was told of these; of the failed ones it is told again after the next start."""
        with self._file.transaction() as db:
            marks = [(1, report_id) for report_id in told] + [(2, report_id) for report_id in failed]
            db.executemany("UPDATE record SET told = ? WHERE id = ?", marks)

    def close(self) -> None:
        """Closes the file; others may open it then."""
        self._file.close()


def _move(db: sqlite3.Connection, cursors: dict[int, int]) -> None:
    db.executemany(
        "INSERT INTO cursor VALUES (?, ?) ON CONFLICT (partition) DO UPDATE SET next = excluded.next",
        list(cursors.items()),
    )
