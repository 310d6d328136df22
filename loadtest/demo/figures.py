"""What a part of the platform says in sum, in one form for all parts, so that they can be compared."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple


class Figures(NamedTuple):
    """`lots`: points in 1/1000 by person and last valid day. The rest is by app; None where a part does not
    keep it (Redis holds persons only)."""

    lots: Mapping[str, Mapping[str, int]]
    verdicts: Counter[tuple[str, str]] | None
    reduction_mg: Counter[str] | None
    points_milli: Counter[str] | None

    def by_app(self) -> tuple[Counter[tuple[str, str]], Counter[str], Counter[str]]:
        """Verdicts, reductions and points of a part that keeps them."""
        verdicts, reduction_mg, points_milli = self[1:]
        assert verdicts is not None
        assert reduction_mg is not None
        assert points_milli is not None
        return verdicts, reduction_mg, points_milli


class Difference(NamedTuple):
    """One value on which the parts disagree, as each of them says it."""

    what: str
    values: Mapping[str, object]


class Summing:
    """Adds up rows, whatever their source, to `Figures`."""

    def __init__(self) -> None:
        self._lots: dict[str, Counter[str]] = defaultdict(Counter)
        self._verdicts: Counter[tuple[str, str]] = Counter()
        self._reduction_mg: Counter[str] = Counter()
        self._points_milli: Counter[str] = Counter()

    def add(
        self, app: str, verdict: str, uid: str, expires_on: str, reduction_mg: int, points_milli: int
    ) -> None:
        """One row or outcome."""
        self._verdicts[app, verdict] += 1
        if reduction_mg:
            self._reduction_mg[app] += reduction_mg
        if points_milli:
            self._points_milli[app] += points_milli
            self._lots[uid][expires_on] += points_milli

    def figures(self) -> Figures:
        """What was added so far."""
        return Figures(self._lots, self._verdicts, self._reduction_mg, self._points_milli)


def differences(parts: dict[str, Figures]) -> list[Difference]:
    """Every value on which any two parts disagree, persons first; empty if they agree in all."""
    found = []
    persons = {part: {uid: dict(lots) for uid, lots in f.lots.items() if lots} for part, f in parts.items()}
    for uid in sorted(set().union(*persons.values())):
        said = {part: lots.get(uid, {}) for part, lots in persons.items()}
        if not _agree(said):
            found.append(Difference(f"person {uid}", {p: _in_words(lots) for p, lots in said.items()}))
    for name in ("verdicts", "reduction_mg", "points_milli"):
        tables = {part: getattr(f, name) for part, f in parts.items()}
        tables = {part: table for part, table in tables.items() if table is not None}
        for key in sorted(set().union(*tables.values())):
            said = {part: table.get(key, 0) for part, table in tables.items()}
            if not _agree(said):
                words = " ".join(key) if isinstance(key, tuple) else key
                found.append(Difference(f"{name} {words}", said))
    return found


def _agree(said: Mapping[str, object]) -> bool:
    values = list(said.values())
    return all(value == values[0] for value in values)


def _in_words(lots: dict[str, int]) -> str:
    said = [f"{milli / 1000:,.3f} to {day}" for day, milli in sorted(lots.items())]
    return f"{sum(lots.values()) / 1000:,.3f}" + (f" = {' + '.join(said)}" if said else "")
