"""What clients of ClickHouse's HTTP interface rely on: the embedded endpoint and a server answer alike."""

import csv
import gzip
import io
import json
import zlib
from base64 import b64encode
from collections.abc import Callable

import cramjam
import pyarrow as pa
import pyarrow.parquet
import pytest
from clickhouse_cityhash.cityhash import CityHash128

from tests.archive.query.serving import SERVER


def test_a_query_stands_in_the_url_in_the_body_or_in_both(ask):
    assert ask(query="SELECT 1").text == "1\n"
    assert ask("SELECT 'é' AS x -- ;\nFORMAT CSVWithNames;").text == '"x"\n"é"\n'
    assert ask(" UNION ALL SELECT 1", query="SELECT 1").text == "1\n1\n"
    assert ask("SELECT 1 AS x", default_format="JSONEachRow").text == '{"x":1}\n'
    assert ask("SELECT 1 AS x", {"X-ClickHouse-Format": "JSONEachRow"}).text == '{"x":1}\n'
    assert ask(method="HEAD", query="SELECT 1").status == 200


def test_brackets_may_stand_around_a_query(ask):
    assert ask("(SELECT 1) UNION ALL (SELECT 2) FORMAT TSV").text == "1\n2\n"
    assert ask("((SELECT 1 AS x)) EXCEPT SELECT 2 FORMAT TSVWithNames").text == "x\n1\n"


def test_compress_1_is_clickhouses_own_compression_of_answers_and_of_errors(ask):
    reply = ask("SELECT number FROM numbers(400000) FORMAT TSV", compress=1, enable_http_compression=0)
    content, blocks = unpacked(reply.body)
    assert content == b"".join(b"%d\n" % n for n in range(400_000))
    assert blocks > 1
    error, _ = unpacked(ask("SELECT * FROM nothing", compress=1).body)
    assert error.startswith(b"Code: 60.")


def unpacked(packed: bytes) -> tuple[bytes, int]:
    """What ClickHouse's blocks hold, and how many they are."""
    body, content, blocks = memoryview(packed), b"", 0
    while body:
        checksum = int.from_bytes(body[:8], "little") << 64 | int.from_bytes(body[8:16], "little")
        size, whole = (int.from_bytes(body[at : at + 4], "little") for at in (17, 21))
        assert CityHash128(bytes(body[16 : 16 + size])) == checksum
        assert body[16] == 0x82
        content += bytes(cramjam.lz4.decompress_block(body[25 : 16 + size], output_len=whole))
        body, blocks = body[16 + size :], blocks + 1
    return content, blocks


DATA = [{"n": 0, "t": "a'b"}, {"n": 1, "t": "c\td"}]
SQL = "SELECT number AS n, if(number = 0, 'a\\'b', 'c\\td') AS t FROM numbers(2) ORDER BY n"


def _csv(body: bytes) -> list[dict]:
    return [{"n": int(n), "t": t} for n, t in csv.reader(io.StringIO(body.decode()))]


def _tabbed(body: bytes) -> list[dict]:
    pairs = (line.replace("\\'", "'").split("\t") for line in body.decode().splitlines())
    return [{"n": int(n), "t": t.replace("\\t", "\t")} for n, t in pairs]


def _json(body: bytes) -> list[dict]:
    rows = json.loads(body)["data"]
    rows = [row if isinstance(row, dict) else dict(zip("nt", row, strict=True)) for row in rows]
    return [{**row, "n": int(row["n"])} for row in rows]  # ClickHouse before 25.8 quotes 64 bits in JSON


def _equal_to(expected: bytes) -> Callable[[bytes], list[dict]]:
    return lambda body: DATA if body == expected else [body]


U64 = bytes(8) + b"\x01" + bytes(7)
BYTES, JSON = "application/octet-stream", "application/json; charset=UTF-8"
TEXT = "text/tab-separated-values; charset=UTF-8"
CSV = "text/csv; charset=UTF-8; header="
FORMATS = {
    "JSON": (JSON, _json),
    "JSONCompact": (JSON, _json),
    "JSONEachRow": (
        "application/x-ndjson; charset=UTF-8",
        lambda body: _json(b'{"data": [' + b",".join(body.splitlines()) + b"]}"),
    ),
    "CSV": (CSV + "absent", _csv),
    "CSVWithNames": (CSV + "present", lambda body: _csv(body.removeprefix(b'"n","t"\n'))),
    "TSV": (TEXT, _tabbed),
    "TabSeparatedWithNames": (TEXT, lambda body: _tabbed(body.removeprefix(b"n\tt\n"))),
    "Arrow": (BYTES, lambda body: pa.ipc.open_file(body).read_all().to_pylist()),
    "ArrowStream": (BYTES, lambda body: pa.ipc.open_stream(body).read_all().to_pylist()),
    "Parquet": (BYTES, lambda body: pa.parquet.read_table(pa.BufferReader(body)).to_pylist()),
    "RowBinaryWithNamesAndTypes": (
        BYTES,
        _equal_to(b"\x02\x01n\x01t\x06UInt64\x06String" + U64[:8] + b"\x03a'b" + U64[8:] + b"\x03c\td"),
    ),
    "Native": (BYTES, _equal_to(b"\x02\x02\x01n\x06UInt64" + U64 + b"\x01t\x06String\x03a'b\x03c\td")),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_and_their_content_types(ask, name):
    content_type, read = FORMATS[name]
    reply = ask(SQL + (f" FORMAT {name}" if name != "CSV" else ""), default_format="CSV")
    assert reply.status == 200, reply.text
    assert (reply.headers["Content-Type"], reply.headers["X-ClickHouse-Format"]) == (content_type, name)
    assert read(reply.body) == DATA


def test_parameters_arrive_as_they_were_meant(ask):
    text = "it's \\\\ a \\t tab, ü, {x:y} ; -- DROP"  # as the interface has it: a text in TabSeparated
    sql = (
        "SELECT {a:UInt8} + 1, {t:String} = 'it\\'s \\\\ a \\t tab, ü, {x:y} ; -- DROP', {l:Array(String)}[2]"
    )
    url = {
        "param_a": "41",
        "param_t": text,
        "param_l": "['x','y\\'z']",
        "default_format": "JSONCompactEachRow",
    }
    assert json.loads(ask(sql, **url).body) == [42, 1, "y'z"]
    assert ask("SELECT {a:UInt8}", param_a="none").status >= 400
    assert ask("SELECT {a:UInt8}").headers["X-ClickHouse-Exception-Code"] == "456"


def test_a_form_carries_a_long_query_and_its_parameters(ask):
    text = "x" * 20_000
    fields = {"query": f"SELECT length({{t:String}}), length('{text}')", "param_t": text}
    part = '--line\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    body = "".join(part.format(*field) for field in fields.items()) + "--line--\r\n"
    assert ask(body, {"Content-Type": "multipart/form-data; boundary=line"}).text == "20000\t20000\n"


def test_headers_tell_what_it_took(ask):
    reply = ask("SELECT uid FROM entries LIMIT 7", query_id="mine-1", wait_end_of_query=1)
    assert reply.headers["X-ClickHouse-Query-Id"] == "mine-1"
    assert reply.headers["X-ClickHouse-Server-Display-Name"]
    assert reply.headers["X-ClickHouse-Timezone"] == ask("SELECT timezone()").text.strip()
    summary = {name: int(value) for name, value in json.loads(reply.headers["X-ClickHouse-Summary"]).items()}
    assert (summary["read_rows"] >= 7, summary["result_rows"], summary["written_rows"]) == (True, 7, 0)
    assert summary["read_bytes"] > 0
    assert summary["elapsed_ns"] > 0
    assert (
        ask("SELECT 1").headers["X-ClickHouse-Query-Id"] != ask("SELECT 1").headers["X-ClickHouse-Query-Id"]
    )


def test_progress_is_told_in_headers_to_who_asks(ask):
    slow = "SELECT sum(sipHash64(number)) FROM numbers(20000000)"
    reply = ask(slow, send_progress_in_http_headers=1, http_headers_progress_interval_ms=10)
    counted = [int(json.loads(told)["read_rows"]) for told in reply.headers.get_all("X-ClickHouse-Progress")]
    assert counted == sorted(counted)
    assert 0 < counted[-1] <= 20_000_000 + 65_536
    assert ask("SELECT 1").headers["X-ClickHouse-Progress"] is None


DECOMPRESS = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": lambda body: bytes(cramjam.zstd.decompress(body)),
    "lz4": lambda body: bytes(cramjam.lz4.decompress(body)),
}


@pytest.mark.parametrize("encoding", DECOMPRESS)
def test_answers_are_compressed_for_who_accepts_it(ask, encoding):
    sql = "SELECT repeat('a', 10000)"
    reply = ask(sql, {"Accept-Encoding": encoding}, enable_http_compression=1)
    assert reply.headers["Content-Encoding"] == encoding
    assert len(reply.body) < 1000
    assert DECOMPRESS[encoding](reply.body) == b"a" * 10_000 + b"\n"
    for_nobody = ask(sql, {"Accept-Encoding": encoding}, enable_http_compression=0)
    assert for_nobody.headers["Content-Encoding"] is None
    assert ask(sql, {"Accept-Encoding": "identity"}).text == "a" * 10_000 + "\n"


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_queries_may_be_compressed(ask, encoding, compress):
    sql = f"SELECT length('{'a' * 100_000}')".encode()
    assert ask(compress(sql), {"Content-Encoding": encoding}).text == "100000\n"
    assert ask(b"not compressed", {"Content-Encoding": encoding}).status >= 400


def test_the_database_is_named_in_the_url_or_in_a_header(ask, endpoint):
    sql = "SELECT currentDatabase()"
    assert ask(sql).text.strip() == endpoint.database
    by_header = ask(sql, {"X-ClickHouse-Database": endpoint.database}, database=None)
    assert by_header.text.strip() == endpoint.database
    assert int(ask("SELECT count() FROM system.tables").text) > 0
    unknown = ask(sql, database="nowhere")
    assert (unknown.status, unknown.headers["X-ClickHouse-Exception-Code"]) == (404, "81")


def test_settings_come_in_the_url(ask):
    too_many = ask("SELECT number FROM numbers(100)", max_result_rows=10)
    assert too_many.headers["X-ClickHouse-Exception-Code"] == "396"
    assert ask("SELECT toDateTime(0)", session_timezone="Asia/Shanghai").text == "1970-01-01 08:00:00\n"
    assert ask("SELECT toDateTime(0, 'UTC')").text == "1970-01-01 00:00:00\n"
    quoted = ask("SELECT 1::UInt64 AS x FORMAT JSONEachRow", output_format_json_quote_64bit_integers=1)
    assert quoted.text == '{"x":"1"}\n'
    unknown = ask("SELECT 1", no_such_setting=1)
    assert (unknown.status, unknown.headers["X-ClickHouse-Exception-Code"]) == (404, "115")


ERRORS = {
    "SELECT 1 +": (400, 62),
    "SELECT 1; SELECT 2": (400, 62),
    "SELECT * FROM nothing": (404, 60),
    "SELECT nothing FROM entries": (404, 47),
    "SELECT no_function(1)": (404, 46),
    "SELECT 1 FORMAT Nothing": (404, 73),
    "SELECT toUInt8('x')": (400, 6),
    "SELECT throwIf(1)": (500, 395),
}


@pytest.mark.parametrize("sql", ERRORS)
def test_errors_have_the_codes_of_clickhouse(ask, sql):
    status, code = ERRORS[sql]
    reply = ask(sql)
    assert (reply.status, reply.headers["X-ClickHouse-Exception-Code"]) == (status, str(code)), reply.text
    assert reply.text.startswith(f"Code: {code}. DB::Exception: ")
    assert ask("SELECT 7 AS x FORMAT TSVWithNames").text == "x\n7\n", "an error left something behind"


def test_a_wrong_password_is_refused_with_the_code_of_clickhouse(ask):
    wrong = b64encode(b"nobody:wrong").decode()
    reply = ask("SELECT 1", {"Authorization": f"Basic {wrong}"})
    assert (reply.status, reply.headers["X-ClickHouse-Exception-Code"]) == (403, "516")


WRITES = [
    "INSERT INTO ledger_rows (shard) VALUES (1)",
    "CREATE TABLE made (a Int8) ENGINE = Memory",
    "DROP TABLE ledger_rows",
    "ALTER TABLE ledger_rows DELETE WHERE 1",
    "TRUNCATE TABLE ledger_rows",
    "OPTIMIZE TABLE ledger_rows",
    "SET readonly = 0",
    "SELECT 1 SETTINGS readonly = 0",
    "SYSTEM DROP MARK CACHE",
]


@pytest.mark.parametrize("sql", WRITES)
def test_writing_is_refused_to_a_reader(ask, sql):
    for reply in (ask(query=sql), ask(sql, readonly=1)):
        assert reply.headers["X-ClickHouse-Exception-Code"] in ("164", "497"), reply.text
    assert int(ask("SELECT count() FROM entries").text) >= 101
    assert ask("EXISTS TABLE made").text == "0\n"


@pytest.mark.skipif(not SERVER, reason="POINTS_TEST_CLICKHOUSE_DSN names no ClickHouse server")
def test_a_server_was_asked_as_well(endpoint, ask):
    """Shows in a report whether the tests above held the endpoint against ClickHouse itself."""
    assert ask("SELECT version()").text
