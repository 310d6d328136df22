"""What became of the lines of a file: counted by verdict, the refused ones grouped by what is wrong."""

import re
import threading
from bisect import insort
from collections import Counter
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from schemas.verdicts import TABLE
from sinks.app_client import Answer, Standing

EXAMPLES_MAX = 5
GROUPS_SHOWN_MAX = 20
GOOD = (Standing.RECORDED, Standing.COUNTED, Standing.REPEATED)
REPEATED_LINE, ID_TAKEN = "same as an earlier line", "id_taken"
TO_DO = {verdict.code: meaning.app_should for verdict, meaning in TABLE.items()} | {
    REPEATED_LINE: "nothing",
    ID_TAKEN: "give one of the two another id: an id names one record for ever",
}
# What differs between details that say the same: places and sizes.
_NUMBERS = re.compile("[0-9a-f]{64}|[0-9]+")


@dataclass
class Refusals:
    """Lines that were refused for the same reason; `detail` is that of one of them."""

    verdict: str
    detail: str
    sent: bool
    count: int = 0
    first_lines: list[int] = field(default_factory=list)

    @property
    def to_do(self) -> str:
        """What is right to do now."""
        return TO_DO.get(self.verdict, "see docs/verdicts.md")


class Tally:
    """What became of the lines. Told by two threads."""

    def __init__(self) -> None:
        self.lines = self.sent = 0
        self.verdicts: Counter[str] = Counter()  # of records that were sent and answered
        self.not_sent: Counter[str] = Counter()
        self.points_milli = 0
        self.seen: dict[str, tuple[int, int]] = {}  # by report_id: line, and hash of the content
        self.changed = threading.Condition()
        self._refused: dict[tuple[str, str, bool], Refusals] = {}

    def kept_back(self, line: int, verdict: str, detail: str) -> None:
        """A line that is refused before it is sent."""
        with self.changed:
            self.not_sent[verdict] += 1
            self._refuse(line, verdict, detail, sent=False)

    def answered(self, answer: Answer) -> None:
        """The outcome of a record."""
        with self.changed:
            self.verdicts[answer.verdict] += 1
            self.points_milli += answer.points_milli
            if answer.standing not in GOOD:
                self._refuse(self.seen[answer.report_id][0], answer.verdict, answer.detail, sent=True)
            self.changed.notify_all()

    def _refuse(self, line: int, verdict: str, detail: str, sent: bool) -> None:
        key = (verdict, _NUMBERS.sub("#", detail), sent)
        group = self._refused.setdefault(key, Refusals(verdict, detail, sent))
        group.count += 1
        insort(group.first_lines, line)  # outcomes come in any order
        del group.first_lines[EXAMPLES_MAX:]

    @property
    def refused_lines(self) -> int:
        """How many lines were refused, here or by the platform."""
        return sum(group.count for group in self._refused.values())

    def refused(self) -> list[Refusals]:
        """The refusals, by their first line."""
        return sorted(self._refused.values(), key=lambda group: group.first_lines)

    def plain(self) -> dict:
        """For programs."""
        return {
            "lines": self.lines,
            "sent": self.sent,
            "verdicts": dict(self.verdicts),
            "not_sent": dict(self.not_sent),
            "points_milli": self.points_milli,
            "refused_lines": self.refused_lines,
            "refused": [asdict(group) | {"to_do": group.to_do} for group in self.refused()],
        }


def show(tally: Tally, console: Console) -> None:
    """The verdicts, then what was refused, why, and what is right to do."""
    table = Table("verdict")
    table.add_column("records", justify="right")
    table.add_column("what to do", overflow="fold")
    for verdict, count in tally.verdicts.most_common():
        table.add_row(verdict, f"{count:,}", TO_DO.get(verdict, "see docs/verdicts.md"))
    for verdict, count in tally.not_sent.most_common():
        table.add_row(f"{verdict} (not sent)", f"{count:,}", TO_DO[verdict])
    if table.row_count:
        console.print(table)
    unanswered = tally.sent - tally.verdicts.total()
    without = f", {unanswered:,} not waited for" if unanswered else ""
    console.print(
        f"{tally.lines:,} lines, {tally.sent:,} sent{without}, {tally.points_milli / 1000:,.3f} points"
    )
    groups = tally.refused()
    for group in groups[:GROUPS_SHOWN_MAX]:
        console.print(line_of(group), markup=False, highlight=False, soft_wrap=True)
    if len(groups) > GROUPS_SHOWN_MAX:
        console.print(f"... and {len(groups) - GROUPS_SHOWN_MAX:,} other reasons: see --json")


def line_of(group: Refusals) -> str:
    """One reason, with how many lines and which, and what to do."""
    more = ", ..." if group.count > len(group.first_lines) else ""
    numbers = ", ".join(map(str, group.first_lines))
    lines = f"line {numbers}" if group.count == 1 else f"{group.count:,} lines ({numbers}{more})"
    not_sent = "" if group.sent else ", not sent"
    return f"{lines}: {group.verdict}{not_sent}: {group.detail}\n  to do: {group.to_do}"
