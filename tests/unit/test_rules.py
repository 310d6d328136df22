"""Conversion, expiry and partitions are exact; broken rules name file, key and rule."""

import datetime as dt
import hashlib
import shutil
from pathlib import Path

import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from schemas.report import date_of_day, day_of_date
from schemas.rules import PACKAGED, RulesError, expiry_day, floor_ratio, load_rules, ratio
from schemas.shards import shards_of


def reduction_mg(methodology: str, distance_m: int) -> int:
    [version] = load_rules(PACKAGED).methodologies[methodology]
    return floor_ratio(distance_m, *ratio(version.factor_mg_per_unit))


def test_published_factors_give_the_published_figures() -> None:
    assert reduction_mg("SZ-METRO", 12_345) == 577_746
    assert reduction_mg("SZ-BUS-BEV", 3_200) == 86_080


decimals = st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,9})?", fullmatch=True)


@given(st.integers(0, 10**12), st.integers(0, 10**12), decimals)
def test_conversion_is_exact_monotone_and_never_negative(a: int, b: int, factor: str) -> None:
    whole, _, part = factor.partition(".")
    scaled = int(whole + part)
    exact = a * scaled // 10 ** len(part)  # rounded down, no float anywhere
    assert floor_ratio(a, *ratio(factor)) == exact >= 0
    assert (floor_ratio(a, *ratio(factor)) <= floor_ratio(b, *ratio(factor))) or a > b


@pytest.mark.parametrize(
    ("issued", "months", "expires", "last"),
    [
        ("2024-02-29", 120, "day", "2034-02-28"),
        ("2024-02-29", 48, "day", "2028-02-29"),
        ("2024-01-31", 1, "day", "2024-02-29"),
        ("2023-01-31", 1, "day", "2023-02-28"),
        ("2024-08-31", 1, "day", "2024-09-30"),
        ("2024-12-31", 2, "day", "2025-02-28"),
        ("2024-09-07", 24, "day", "2026-09-07"),
        ("2024-09-07", 24, "month_end", "2026-09-30"),
        ("2024-09-30", 24, "month_end", "2026-09-30"),
        ("2024-01-15", 1, "month_end", "2024-02-29"),
        ("2024-12-01", 1, "month_end", "2025-01-31"),
    ],
)
def test_lots_expire_on_the_corresponding_day_of_the_civil_code(issued, months, expires, last) -> None:
    day = expiry_day(day_of_date(dt.date.fromisoformat(issued)), months, expires)
    assert date_of_day(day).isoformat() == last


@given(
    st.dates(dt.date(2022, 1, 1), dt.date(2080, 1, 1)),
    st.integers(1, 120),
    st.sampled_from(["day", "month_end"]),
)
def test_validity_never_passes_ten_years_nor_falls_short(issued: dt.date, months: int, expires: str) -> None:
    last = date_of_day(expiry_day(day_of_date(issued), months, expires))
    assert (last.year - issued.year) * 12 + last.month - issued.month == months
    assert last.day == issued.day or (last + dt.timedelta(days=1)).day == 1


@given(st.lists(st.from_regex("[0-9a-f]{32}", fullmatch=True), max_size=40), st.integers(1, 1_000))
def test_shards_are_kafkas_partitions(uids: list[str], shards: int) -> None:
    assert shards_of(uids, shards) == [(murmur2(uid.encode()) & 0x7FFFFFFF) % shards for uid in uids]


def test_persons_are_spread_evenly() -> None:
    uids = [hashlib.md5(str(n).encode()).hexdigest() for n in range(40_000)]
    counts = [shards_of(uids, 4).count(shard) for shard in range(4)]
    assert max(counts) - min(counts) < 600


# --- broken rules ----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged rules."""
    copied = tmp_path / "rules"
    shutil.copytree(PACKAGED, copied)
    return copied


def change(path: Path, was: str, becomes: str) -> None:
    """Writes something else where it stands first in a file."""
    text = path.read_text("utf-8")
    assert was in text
    path.write_text(text.replace(was, becomes, 1), "utf-8")


def exchange_from_2025(path: Path) -> str:
    """The only exchange rule of a file once more, from another day on."""
    text = path.read_text("utf-8")
    return text[text.index("[[exchange]]") :].replace("2022-08-18", "2025-01-01")


BROKEN = [
    ("bundle.toml", "version = 1", "version = 0", "version"),
    ("bundle.toml", "version = 1", 'version = "1"', "version: Expected `int`"),
    ("bundle.toml", "version = 1", "version = ", "not TOML"),
    ("bundle.toml", "version = 1", "version = 1\nsurprise = 2", "surprise"),
    ("bundle.toml", "valid_to = 2027-08-17", "valid_to = 2021-08-17", "valid_to: must not be before"),
    ("bundle.toml", "valid_from = 2022-08-18", "valid_from = 1", "valid_from"),
    ("methodologies.toml", 'unit = "distance_m"', 'unit = "miles"', "unit: must be one of distance_m"),
    ("methodologies.toml", '"46.8"', "46.8", "factor_mg_per_unit"),
    ("methodologies.toml", '"46.8"', '"-46.8"', "factor_mg_per_unit"),
    ("methodologies.toml", "activity_min = 1\n", "activity_min = 90_000\n", "activity_max: must not be"),
    ("methodologies.toml", '["source_txn"]', "[]", "claim_key: one or more of"),
    ("methodologies.toml", '["source_txn"]', '["uid"]', "claim_key: one or more of"),
    ("methodologies.toml", "[[methodology]]", "", "unknown field `id`"),
    ("methodologies.toml", 'status = "official"', 'status = "guess"', "status"),
    ("methodologies.toml", "in_force_from = ", "in_force_to = 2020-01-01\nin_force_from = ",
     "ends before it begins"),
    ("exchange.toml", "validity_months = 24", "validity_months = 121", "validity_months: at most 10 years"),
    ("exchange.toml", "validity_months = 24", "validity_months = 120", "month_end would pass 10 years"),
    ("exchange.toml", "validity_months = 24", "validity_months = 0", "validity_months"),
    ("exchange.toml", "daily_cap_points = 1_000", "daily_cap_points = 0", "daily_cap_points"),
    ("exchange.toml", 'expires = "month_end"', 'expires = "never"', "expires"),
    ("exchange.toml", "[[exchange]]", "[[exchanges]]", "exchange"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "was", "becomes", "said"), BROKEN)
def test_a_broken_rule_names_file_key_and_rule(
    folder: Path, file: str, was: str, becomes: str, said: str
) -> None:
    change(folder / file, was, becomes)
    with pytest.raises(RulesError) as caught:
        load_rules(folder)
    assert str(folder / file) in str(caught.value)
    assert said in str(caught.value)


# One step to the good side of a bound that BROKEN passes.
GOOD = [
    ("bundle.toml", "valid_to = 2027-08-17", "valid_to = 2022-08-18"),
    ("methodologies.toml", "activity_min = 1\n", "activity_min = 80_000\n"),
    ("methodologies.toml", '["source_txn"]', '["occurred_at"]'),  # of one methodology: each has its own
    ("methodologies.toml", "in_force_from = ", "in_force_to = 2021-12-17\nin_force_from = "),
    ("exchange.toml", "validity_months = 24", "validity_months = 119"),
    (
        "exchange.toml",
        'validity_months = 24\nexpires = "month_end"',
        'validity_months = 120\nexpires = "day"',
    ),
    (
        "exchange.toml",
        "effective_from = 2022-08-18",
        "effective_from = 2022-08-18\neffective_to = 2022-08-18",
    ),
]


@pytest.mark.parametrize(("file", "was", "becomes"), GOOD)
def test_what_just_keeps_a_rule_is_taken(folder: Path, file: str, was: str, becomes: str) -> None:
    change(folder / file, was, becomes)
    load_rules(folder)


@pytest.mark.parametrize(
    ("file", "was", "becomes"),
    [
        ("bundle.toml", "valid_to = 2027-08-17", "valid_to = 2022-08-17"),
        ("methodologies.toml", "activity_min = 1\n", "activity_min = 80_001\n"),
        ("methodologies.toml", "in_force_from = ", "in_force_to = 2021-12-16\nin_force_from = "),
    ],
)
def test_just_beyond_a_rule_it_is_refused(folder: Path, file: str, was: str, becomes: str) -> None:
    change(folder / file, was, becomes)
    with pytest.raises(RulesError, match=file):
        load_rules(folder)


@pytest.mark.parametrize("file", ["bundle.toml", "methodologies.toml", "exchange.toml"])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(RulesError, match=f"{file}: cannot be read"):
        load_rules(folder)
    (folder / file).write_bytes(b"\xff\xfe")
    with pytest.raises(RulesError, match="not TOML"):
        load_rules(folder)


def test_versions_must_not_be_in_force_together(folder: Path) -> None:
    path = folder / "exchange.toml"
    text, again = path.read_text("utf-8"), exchange_from_2025(path)
    second = again.replace("version = 1", "version = 2")
    path.write_text(text + second, "utf-8")
    with pytest.raises(RulesError, match="exchange version 2: is in force together with version 1"):
        load_rules(folder)
    for last, fits in (("2025-01-01", False), ("2024-12-31", True)):
        first = text.replace("2022-08-18", f"2022-08-18\neffective_to = {last}")
        path.write_text(first + second, "utf-8")
        if fits:
            assert [e.version for e in load_rules(folder).exchanges] == [1, 2]
        else:
            with pytest.raises(RulesError, match="together"):
                load_rules(folder)


def test_a_version_is_given_once(folder: Path) -> None:
    path = folder / "exchange.toml"
    again = exchange_from_2025(path)
    change(path, "2022-08-18", "2022-08-18\neffective_to = 2024-12-31")
    path.write_text(path.read_text("utf-8") + again, "utf-8")
    with pytest.raises(RulesError, match="exchange version 1: version: is given twice"):
        load_rules(folder)


def test_versions_of_a_methodology_share_their_claim_key(folder: Path) -> None:
    path = folder / "methodologies.toml"
    text = path.read_text("utf-8")
    second = text[text.index("[[methodology]]") : text.rindex("[[methodology]]")]
    second = second.replace("version = 1", "version = 2").replace("2021-12-17", "2025-01-01")
    first = text.replace(
        "in_force_from = 2021-12-17", "in_force_from = 2021-12-17\nin_force_to = 2024-12-31", 1
    )
    path.write_text(first + second, "utf-8")
    assert len(load_rules(folder).methodologies["SZ-METRO"]) == 2
    path.write_text(first + second.replace('["source_txn"]', '["occurred_at"]'), "utf-8")
    with pytest.raises(RulesError, match="version 2: claim_key: must be that of version 1"):
        load_rules(folder)


def test_the_identity_changes_with_any_rule(folder: Path) -> None:
    assert load_rules(folder).identity == load_rules(PACKAGED).identity
    path = folder / "exchange.toml"
    path.write_text(path.read_text("utf-8").replace("1_000", "1_001"), "utf-8")
    assert load_rules(folder).identity != load_rules(PACKAGED).identity
