"""Rules as data: the regulation's validity, methodologies and the exchange rule.

Loaded from TOML (schemas/rules_data, or a folder of the operator's), checked whole before anything uses them.
Everything is effective-dated by the behaviour's Asia/Shanghai day, so that a replay decides as the first run
did.
"""

import calendar
import datetime as dt
import hashlib
import tomllib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from schemas.limits import LATE_WINDOW_DAYS, VALIDITY_YEARS_MAX
from schemas.report import AMOUNT_MAX, UNITS, Unit, date_of_day, day_of_date

PACKAGED = Path(__file__).parent / "rules_data"
_Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,32}\Z")]
_Decimal = Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?\Z", description="exact decimal, as text")]
_FAR_FUTURE = dt.date(9999, 12, 31)


class RulesError(ValueError):
    """A rules file that cannot be used; the message names file, key and rule."""


if TYPE_CHECKING:
    _Unit = Unit
else:
    _Unit = str  # checked with the other rules, where the refusal can name all units


class Methodology(Struct, frozen=True, forbid_unknown_fields=True):
    """One version of a methodology (方法学): reduction in mg = floor(activity x factor)."""

    id: _Id
    version: Annotated[int, Meta(ge=1, le=30_000)]
    status: Annotated[str, Meta(pattern=r"^(official|reference|illustrative)\Z")]
    title: str
    source: str
    in_force_from: dt.date
    unit: _Unit
    factor_mg_per_unit: _Decimal
    activity_min: Annotated[int, Meta(ge=0)]
    activity_max: Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
    claim_key: list[str]
    in_force_to: dt.date = _FAR_FUTURE
    region_prefix: Annotated[str, Meta(pattern=r"^[0-9]{0,6}\Z")] = ""


class Exchange(Struct, frozen=True, forbid_unknown_fields=True):
    """One version of the exchange rule (碳积分兑换规则): points in 1/1000 = floor(reduction in mg x rate)."""

    version: Annotated[int, Meta(ge=1, le=30_000)]
    status: Annotated[str, Meta(pattern=r"^(official|illustrative)\Z")]
    effective_from: dt.date
    points_per_g: _Decimal
    validity_months: Annotated[int, Meta(ge=1)]
    expires: Annotated[str, Meta(pattern=r"^(month_end|day)\Z")]
    daily_cap_points: Annotated[int, Meta(ge=1)]
    effective_to: dt.date = _FAR_FUTURE


# The period of each cap: what a person has used of it is kept for as long as reports of that period may come.
_CAP_PERIODS_DAYS = {"daily_cap_points": 1}
if {*_CAP_PERIODS_DAYS} != {name for name in Exchange.__struct_fields__ if "_cap_" in name}:
    raise TypeError("schemas/rules.py: a cap without its period in _CAP_PERIODS_DAYS")
CAPS_KEPT_DAYS = LATE_WINDOW_DAYS + max(_CAP_PERIODS_DAYS.values()) - 1


class Bundle(Struct, frozen=True, forbid_unknown_fields=True):
    """The regulation's own frame."""

    version: Annotated[int, Meta(ge=1)]
    title: str
    regulation: str
    valid_from: dt.date
    valid_to: dt.date


def floor_ratio(amount: int, numerator: int, denominator: int) -> int:
    """amount x numerator / denominator, rounded down; exact for any size of integers."""
    return amount * numerator // denominator


def expiry_day(issue_day: int, months: int, expires: str) -> int:
    """The last valid day of a lot issued on `issue_day` (both as days since 1970-01-01).

    民法典 §201-203: the day of issue is not counted, the period ends at 24:00 of the corresponding day of the
    last month, or of the month's last day where there is none; `month_end` runs on to the end of that month.
    """
    issued = date_of_day(issue_day)
    month_index = issued.year * 12 + issued.month - 1 + months
    year, month = divmod(month_index, 12)
    length = calendar.monthrange(year, month + 1)[1]
    day = length if expires == "month_end" else min(issued.day, length)
    return day_of_date(dt.date(year, month + 1, day))


class Rules:
    """The loaded rules, indexed for decisions. `identity` ("version:sha256") goes into every block."""

    def __init__(self, bundle: Bundle, methodologies: list[Methodology], exchanges: list[Exchange]):
        self.bundle = bundle
        self.methodologies: dict[str, list[Methodology]] = {}
        for m in sorted(methodologies, key=lambda m: m.in_force_from):
            self.methodologies.setdefault(m.id, []).append(m)
        self.exchanges = sorted(exchanges, key=lambda e: e.effective_from)
        content = msgspec.json.encode([bundle, methodologies, exchanges], order="deterministic")
        self.identity = f"{bundle.version}:{hashlib.sha256(content).hexdigest()[:16]}"
        self.valid_from_day = day_of_date(bundle.valid_from)
        self.valid_to_day = day_of_date(bundle.valid_to)

    def methodology_on(self, methodology_id: str, day: int) -> Methodology | None:
        """The version in force on a behaviour day; None if there is none."""
        date = date_of_day(day)
        for m in self.methodologies.get(methodology_id, ()):
            if m.in_force_from <= date <= m.in_force_to:
                return m
        return None

    def exchange_on(self, day: int) -> Exchange | None:
        """The exchange rule in effect on a behaviour day."""
        date = date_of_day(day)
        for e in self.exchanges:
            if e.effective_from <= date <= e.effective_to:
                return e
        return None


def ratio(decimal: str) -> tuple[int, int]:
    """An exact decimal as numerator and denominator."""
    value = Fraction(decimal)
    return value.numerator, value.denominator


def load_rules(folder: Path = PACKAGED) -> Rules:
    """Reads and checks the three files of a rules folder. Raises `RulesError`."""
    bundle = _read(folder / "bundle.toml", Bundle)
    methodologies = _read_list(folder / "methodologies.toml", "methodology", Methodology)
    exchanges = _read_list(folder / "exchange.toml", "exchange", Exchange)
    _check_methodologies(folder / "methodologies.toml", methodologies)
    _check_exchanges(folder / "exchange.toml", exchanges)
    if bundle.valid_from > bundle.valid_to:
        raise RulesError(f"{folder / 'bundle.toml'}: valid_to: must not be before valid_from")
    return Rules(bundle, methodologies, exchanges)


_File = TypeVar("_File")


def _read(path: Path, kind: type[_File]) -> _File:
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), kind)
    except OSError as error:
        raise RulesError(
            f"{path}: cannot be read: {error.strerror}; restore it or name another folder"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RulesError(f"{path}: not TOML: {error}") from error
    except msgspec.ValidationError as error:
        rule, _, key = str(error).partition(" - at `$")
        raise RulesError(f"{path}: {key.rstrip('`').lstrip('.') or 'file'}: {rule}") from error


def _read_list(path: Path, key: str, kind: type[_File]) -> list[_File]:
    of_kind: Any = list[kind]  # type: ignore[valid-type]
    file = msgspec.defstruct("File", [(key, of_kind)], forbid_unknown_fields=True)
    found: list[_File] = getattr(_read(path, file), key)
    return found


def _check_methodologies(path: Path, methodologies: list[Methodology]) -> None:
    for m in methodologies:
        where = f"{path}: methodology {m.id} version {m.version}"
        if m.unit not in UNITS:
            raise RulesError(f"{where}: unit: must be one of {', '.join(UNITS)}")
        if m.activity_min > m.activity_max:
            raise RulesError(f"{where}: activity_max: must not be below activity_min")
        if not m.claim_key or set(m.claim_key) - {"source_txn", "occurred_at"}:
            raise RulesError(f"{where}: claim_key: one or more of source_txn, occurred_at")
        if m.claim_key != (first := next(other for other in methodologies if other.id == m.id)).claim_key:
            raise RulesError(
                f"{where}: claim_key: must be that of version {first.version}, or claims are lost"
            )
    _check_no_overlap(
        path, "methodology", [(m.id, m.version, m.in_force_from, m.in_force_to) for m in methodologies]
    )


def _check_exchanges(path: Path, exchanges: list[Exchange]) -> None:
    for e in exchanges:
        if e.validity_months > VALIDITY_YEARS_MAX * 12:
            raise RulesError(
                f"{path}: exchange version {e.version}: validity_months: at most 10 years (Art. 22)"
            )
        if e.validity_months == VALIDITY_YEARS_MAX * 12 and e.expires == "month_end":
            raise RulesError(
                f"{path}: exchange version {e.version}: expires: month_end would pass 10 years (Art. 22)"
            )
    _check_no_overlap(
        path, "exchange", [("", e.version, e.effective_from, e.effective_to) for e in exchanges]
    )


def _check_no_overlap(path: Path, kind: str, spans: list[tuple[str, int, dt.date, dt.date]]) -> None:
    versions: set[tuple[str, int]] = set()
    last: dict[str, tuple[int, dt.date]] = {}
    for name, version, start, end in sorted(spans, key=lambda s: (s[0], s[2])):
        where = f"{path}: {kind} {name} version {version}".replace("  ", " ")
        if (name, version) in versions:
            raise RulesError(f"{where}: version: is given twice")
        versions.add((name, version))
        if start > end:
            raise RulesError(f"{where}: ends before it begins")
        if name in last and start <= last[name][1]:
            raise RulesError(
                f"{where}: is in force together with version {last[name][0]}: end that one first"
            )
        last[name] = (version, end)
