"""Any slice of the data set is read alike; what cannot be read is named by file, line, column and rule."""

import datetime as dt
import gzip

import pytest

from loadtest.demo.reports import behaviours_of
from loadtest.demo.taps import PACKAGED, Kind, TapsError, entries_of_exits, read_taps

EXIT = "AAA,2018-09-01 08:15:00,地铁出站,190,200,263035112,地铁五号线,太安"


def test_the_packaged_file_has_the_facts_of_its_readme():
    taps = read_taps(PACKAGED)
    behaviours = behaviours_of(taps)
    exits = sum(tap.kind == Kind.EXIT for tap in taps.taps)
    buses = sum(tap.kind == Kind.BUS for tap in taps.taps)
    assert (taps.rows, exits, buses, taps.other_kinds, taps.other_weeks) == (37_000, 9_261, 18_119, 0, 0)
    assert (len(behaviours.reported), behaviours.same_station, behaviours.no_distance) == (27_357, 23, 0)


def test_one_row(taps_file):
    [tap] = read_taps(taps_file(EXIT)).taps
    at = dt.datetime(2018, 9, 1, 8, 15)
    assert tap == (2, "AAA", at, Kind.EXIT, 200, "263035112", "地铁五号线", "太安")


def test_other_order_quoted_byte_order_mark_and_gzip_give_the_same(taps_file, tmp_path):
    plain = read_taps(taps_file(EXIT)).taps
    other = tmp_path / "other.csv.gz"
    text = (
        "\ufeffstation,company_name,equ_no,deal_value,deal_type,deal_date,card_no\r\n"
        '"太安","地铁五号线","263035112",200,"地铁出站","2018-09-01 08:15:00","AAA"\r\n'
    )
    other.write_bytes(gzip.compress(text.encode()))
    assert read_taps(other).taps == plain


@pytest.mark.parametrize("missing", ["", "-", " - "])
def test_missing_values(taps_file, missing):
    row = f"AAA,2018-09-01 08:15:00,巴士,0,{missing},{missing},{missing},{missing}"
    [tap] = read_taps(taps_file(row)).taps
    assert (tap.fare_fen, tap.reader, tap.company, tap.station) == (None, "", "", "")


def test_optional_columns_may_be_absent(taps_file):
    path = taps_file(
        "AAA,2018-09-01 08:15:00,巴士,200,1", header="card_no,deal_date,deal_type,deal_value,equ_no"
    )
    [tap] = read_taps(path).taps
    assert (tap.company, tap.station) == ("", "")


def test_no_taps_at_all(taps_file):
    assert behaviours_of(read_taps(taps_file())).reported == []


def test_a_name_damaged_by_encoding_is_read(taps_file):
    path = taps_file(EXIT)
    path.write_bytes(path.read_bytes().replace("太安".encode(), b"\xcc\xab"))
    assert len(read_taps(path).taps) == 1


def test_other_kinds_and_other_weeks_are_counted(taps_file):
    taps = read_taps(
        taps_file(
            EXIT,
            "AAA,2018-09-01 08:15:00,轮渡,190,200,1,a,b",
            "AAA,2018-08-25 08:15:00,巴士,190,200,1,a,b",
            "AAA,2018-08-31 22:15:00,巴士,190,200,1,a,b",
        )
    )
    assert (len(taps.taps), taps.other_kinds, taps.other_weeks) == (2, 1, 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("AAA,2018-09-01,巴士,0,200,1,a,b", "line 2: column deal_date: must be a time"),
        ("AAA,2018-09-01 08:15:00,巴士,0,2.5,1,a,b", "line 2: column deal_value: must be a whole number"),
        ("AAA,2018-09-01 08:15:00,巴士,0,-100,1,a,b", "line 2: column deal_value: must be a whole number"),
        ("-,2018-09-01 08:15:00,巴士,0,200,1,a,b", "line 2: column card_no: must not be missing"),
        ("AAA,2018-09-01 08:15:00,巴士", "line 2: column deal_value: the row has only 3 cells"),
    ],
)
def test_errors_name_file_line_column_and_rule(taps_file, row, message):
    path = taps_file(row)
    with pytest.raises(TapsError) as error:
        read_taps(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_an_error_in_the_header(taps_file):
    with pytest.raises(TapsError, match="line 1: column deal_value: is not in the header"):
        read_taps(taps_file(header="card_no,deal_date,deal_type,equ_no"))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(TapsError, match="cannot be read: No such file"):
        read_taps(tmp_path / "none.csv")
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(PACKAGED.read_bytes()[:1000])
    with pytest.raises(TapsError, match="damaged gzip"):
        read_taps(cut)
    empty = tmp_path / "empty.csv"
    empty.touch()
    with pytest.raises(TapsError, match="line 1: column card_no: is not in the header"):
        read_taps(empty)


def test_a_trip_within_one_station_is_not_reported_in_any_order_of_rows_nor_twice(taps_file):
    entry = "AAA,2018-09-01 08:00:00,地铁入站,0,0,1,地铁五号线,太安"
    taps = read_taps(taps_file(EXIT, EXIT, entry, "BBB,2018-09-01 08:20:00,地铁出站,190,200,1,a,-"))
    assert {line: tap.line for line, tap in entries_of_exits(taps.taps).items()} == {2: 4, 3: 4}
    behaviours = behaviours_of(taps)
    assert [b.tap.card_no for b in behaviours.reported] == ["BBB"]
    assert behaviours.same_station == 2


def test_an_entry_opens_one_trip_only(taps_file):
    entry = "AAA,2018-09-01 08:00:00,地铁入站,0,0,1,地铁五号线,太安"
    later = "AAA,2018-09-01 09:15:00,地铁出站,190,200,263035112,地铁五号线,太安"
    assert list(entries_of_exits(read_taps(taps_file(entry, EXIT, later)).taps)) == [3]
