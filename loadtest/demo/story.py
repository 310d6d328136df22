"""One card's story: its taps, what the apps made of them, what became of that, and what it adds up to."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from loadtest.demo.app_client import AppClient, Outcome
from loadtest.demo.generator import Record
from loadtest.demo.reports import person_of
from loadtest.demo.taps import Tap

# A card with more records than this would fill more than a screen.
RECORDS_MAX = 30


class Line(NamedTuple):
    """One record of the person, in the order of the ledger."""

    record: Record
    outcome: Outcome


class Story(NamedTuple):
    """Everything about one person, whose lots add up to the sum of the lines' points."""

    uid: str
    taps: list[Tap]
    lines: list[Line]
    lots: Mapping[str, int]


def story_of(
    taps: list[Tap], clients: Iterable[AppClient], lots: Mapping[str, Mapping[str, int]]
) -> Story | None:
    """The story of the person who met most of the platform: both apps first, then most kinds of verdict."""
    lines: dict[str, list[Line]] = defaultdict(list)
    for client in clients:
        for place, record in client.sent.items():
            lines[record.uid].append(Line(record, client.outcomes[place]))
    told = {uid: mine for uid, mine in lines.items() if len(mine) <= RECORDS_MAX}
    if not told:
        return None
    uid = max(told, key=lambda uid: (_richness(told[uid]), uid))
    own_taps = sorted((t for t in taps if person_of(t.card_no) == uid), key=lambda t: (t.at, t.line))
    return Story(uid, own_taps, sorted(told[uid], key=lambda x: x.outcome.place), lots.get(uid, {}))


def _richness(lines: list[Line]) -> tuple[int, int, int]:
    apps = {line.record.app for line in lines}
    verdicts = {line.outcome.verdict for line in lines}
    return len(apps), len(verdicts), len(lines)
