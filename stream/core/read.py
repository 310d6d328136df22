"""From a cycle's bytes to what a decision needs: columns of reports, days, members. Pure and total."""

from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from schemas.command import read_command
from schemas.kinds import Command
from schemas.kinds.replay import ReplayCommand
from schemas.limits import FUTURE_TOLERANCE_MS
from schemas.refusal import Refusal
from schemas.report import DAY_MS, SHANGHAI_OFFSET_MS, shanghai_day
from schemas.reports import Reports, read_reports
from schemas.rules import Rules
from schemas.topics import COMMANDS
from schemas.verdicts import Verdict
from stream.batches.reader import Unreadable
from stream.core.cycle_input import Cycle
from stream.core.members import Members, members_of

_NO_COMMAND = Refusal(Verdict.MALFORMED, "record: no command of this version")
_OTHER_BYTES = Refusal(Verdict.FORBIDDEN_OPERATION, "hash: not that of the bytes in value")


class Reading(NamedTuple):
    """Parallel to a cycle's rows; for rows that are no reports 0 stands for day and members."""

    reports: Reports
    day: list[int]  # Asia/Shanghai day of the behaviour: the generation of both members
    members: Members
    uids: list[str]  # each person once, in order of first appearance
    command: Command | None = None  # the last row, where it is one: no row follows a command
    # The last row, where it decides a refused record once more: the reports have that record.
    replay: ReplayCommand | None = None

    def without(self, refused: dict[int, Refusal]) -> "Reading":
        """As if these rows could not be read, for these reasons."""
        command = None if len(self.day) - 1 in refused else self.command
        return self._replace(reports=self.reports.without(refused), command=command)


def read_records(cycle: Cycle, rules: Rules, dedupe_key: bytes, in_force: int) -> Reading:
    """Reads every record of a cycle; `in_force`: the format that says which kinds of record there are."""
    values = [b"" if isinstance(value, Unreadable) else value for value in cycle.value]
    last, said = len(values) - 1, _said(cycle, dedupe_key, in_force)
    replay = said if isinstance(said, ReplayCommand) else None
    if said:
        values[last] = replay.value if replay else b""
    reports = read_reports(values, in_force)
    for i, value in enumerate(cycle.value):
        if isinstance(value, Unreadable):
            reports.refused[i] = Refusal(Verdict.UNREADABLE_BATCH, f"batch: {value.codec}: {value.reason}")
    if isinstance(said, Refusal):
        reports.refused[last] = said
    elif said and not replay:
        del reports.refused[last]
    days = (np.array(reports.occurred_ms, np.int64) + SHANGHAI_OFFSET_MS) // DAY_MS
    app_keys = [span.topic + "\0" for span in cycle.sources]
    sources = cycle.source
    if replay:
        app_keys.append(replay.topic + "\0")
        sources = [*sources[:-1], len(cycle.sources)]
    newest = shanghai_day(cycle.time_ms[-1] + FUTURE_TOLERANCE_MS)
    members = members_of(reports, days, [app_keys[s] for s in sources], rules, dedupe_key, newest)
    uids = [uid for uid in dict.fromkeys(reports.uid) if uid]
    command = None if isinstance(said, Refusal | ReplayCommand) else said
    return Reading(reports, days.tolist(), members, uids, command, replay)


def _said(cycle: Cycle, dedupe_key: bytes, in_force: int) -> Command | Refusal | None:
    """What the last row says, if it stands in topic `commands`: nothing follows that in a cycle."""
    value = cycle.value[-1]
    if cycle.sources[cycle.source[-1]].topic != COMMANDS or isinstance(value, Unreadable):
        return None
    command = read_command(value, in_force) or _NO_COMMAND
    if isinstance(command, ReplayCommand) and bytes_hash(command.value, dedupe_key) != command.hash:
        return _OTHER_BYTES
    return command


def bytes_hash(value: bytes, dedupe_key: bytes) -> str:
    """Keyed BLAKE2b-128 of a record's bytes; 32 hex digits."""
    return blake2b(value, digest_size=16, key=dedupe_key, person=b"refused bytes").hexdigest()
