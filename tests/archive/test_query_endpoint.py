"""The embedded endpoint beyond what a ClickHouse server does: who may ask, what is refused, who waits."""

import base64
import gzip
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from http.client import HTTPConnection
from urllib.parse import urlencode

import pytest

from sinks.clickhouse.client import chdb_folder
from sinks.clickhouse.read_only import Answer, ReadOnlyArchive
from stream.query import endpoint as query_endpoint
from tests.archive.query.serving import TOKEN, serving

LOGIN = {"X-ClickHouse-User": "operator", "X-ClickHouse-Key": TOKEN}
Ask = Callable[..., tuple[int, dict[str, str], str]]


def asking(host: str, port: int) -> Ask:
    """Requests to an endpoint: status, headers and text of the answer."""

    def ask(
        body: bytes | str | None = None,
        headers: dict | None = None,
        method: str = "POST",
        path="/",
        **url: object,
    ) -> tuple[int, dict[str, str], str]:
        connection = HTTPConnection(host, port, timeout=30)
        connection.request(method, f"{path}?{urlencode(url)}", body, LOGIN if headers is None else headers)
        try:
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read().decode()
        finally:
            connection.close()

    return ask


@pytest.fixture(scope="module")
def ask(chdb, chdb_dsn) -> Iterator[Ask]:
    chdb.high_water(0)
    with serving(ReadOnlyArchive(chdb_folder(chdb_dsn))) as endpoint:
        yield asking(endpoint.host, endpoint.port)


def basic(credentials: bytes) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(credentials).decode()}


@pytest.mark.parametrize(
    ("headers", "url"),
    [
        (LOGIN, {}),
        (basic(b"operator:" + TOKEN.encode()), {}),
        ({}, {"user": "operator", "password": TOKEN}),
    ],
)
def test_a_password_is_taken_in_each_way_of_clickhouse_clients(ask, headers, url):
    assert ask("SELECT 1", headers, **url)[::2] == (200, "1\n")


def key(password: str, user: str = "operator") -> dict[str, str]:
    return {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}


@pytest.mark.parametrize(
    ("headers", "url", "status", "code"),
    [
        ({}, {}, 401, "194"),
        (key(""), {}, 401, "194"),
        ({"Authorization": f"Bearer {TOKEN}"}, {}, 401, "194"),
        ({"Authorization": "Basic %%"}, {}, 401, "194"),
        ({"Authorization": "Basic \xe9"}, {}, 403, "516"),
        (basic(b"\xff:\xff"), {}, 403, "516"),
        (key("s\xe9same"), {}, 403, "516"),
        (key(TOKEN, "anybody"), {}, 403, "516"),
        ({"X-ClickHouse-Key": TOKEN}, {}, 403, "516"),
        ({}, {"user": "operator", "password": TOKEN + "x"}, 403, "516"),
    ],
)
def test_nothing_is_answered_without_a_password(ask, headers, url, status, code):
    for method in ("GET", "POST"):
        given, answered, text = ask("SELECT 1", headers, method, **url)
        assert (given, answered["X-ClickHouse-Exception-Code"]) == (status, code)
        assert text.startswith(f"Code: {code}. DB::Exception: ")


def test_what_needs_no_password_tells_nothing(ask):
    assert ask(None, {}, "GET", "/ping")[::2] == (200, "Ok.\n")
    assert ask(None, {}, "HEAD", "/ping")[0] == 200
    assert ask(None, {}, "GET", "/play")[0] == 404
    status, headers, _ = ask(None, {"Origin": "http://elsewhere"}, "OPTIONS")
    assert (status, headers["Allow"]) == (204, "GET, HEAD, POST, OPTIONS")
    assert "Access-Control-Allow-Origin" not in headers
    assert ask("SELECT 1", method="PUT")[0] == 405
    assert ask(None, LOGIN, "GET")[::2] == (200, "Ok.\n")


FORM = {**LOGIN, "Content-Type": "multipart/form-data; boundary=line"}
TABLE = """--line\r\nContent-Disposition: form-data; name="t"; filename="t"\r\n\r\n1\r\n--line--\r\n"""
REFUSED = {
    "an external table": ({"query": "SELECT * FROM t", "t_structure": "a Int8"}, TABLE, FORM, 48),
    "a setting in a form": ({"query": "SELECT 1"}, TABLE.replace('; filename="t"', ""), FORM, 48),
    "a form that is none": ({}, "SELECT 1", FORM, 36),
    "a body in it": ({"decompress": 1}, "SELECT 1", LOGIN, 48),
    "an unknown encoding": ({}, "SELECT 1", {**LOGIN, "Content-Encoding": "br"}, 48),
    "another encoding than it says": ({}, "SELECT 1", {**LOGIN, "Content-Encoding": "zstd"}, 36),
    "a body that is no text": ({}, b"SELECT '\xff'", LOGIN, 36),
    "data behind an INSERT": ({}, b"INSERT INTO ledger_rows FORMAT Native\n\xff\x00", LOGIN, 164),
    "an INSERT in the URL": ({"query": "INSERT INTO ledger_rows FORMAT TSV"}, "1", LOGIN, 164),
    "a second header": ({"query_id": "a\r\nX-Other: b"}, "SELECT 1", LOGIN, 36),
    "a switch that is none": ({"enable_http_compression": "yes"}, "SELECT 1", LOGIN, 36),
    "a very old client": ({"client_protocol_version": 54000}, "SELECT 1", LOGIN, 36),
    "too much in gzip": ({}, gzip.compress(bytes(300_000)), {**LOGIN, "Content-Encoding": "gzip"}, 223),
    "not gzip": ({}, "SELECT 1", {**LOGIN, "Content-Encoding": "gzip"}, 36),
    "other settings": ({"max_threads": 8}, "SELECT 1", LOGIN, 164),
    "other formats": ({"default_format": "dataframe"}, "SELECT 1", LOGIN, 73),
    "too long a query": ({}, "SELECT 1 -- " + "x" * 262_144, LOGIN, 223),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_in_the_words_of_clickhouse(ask, what):
    url, body, headers, code = REFUSED[what]
    status, answered, text = ask(body, headers, **url)
    assert (status >= 400, answered["X-ClickHouse-Exception-Code"]) == (True, str(code)), text
    assert text.startswith(f"Code: {code}. DB::Exception: ")
    assert "X-Other" not in answered


def test_a_small_body_that_is_a_gigabyte_costs_nothing(ask):
    zeros = gzip.compress(bytes(1 << 20), compresslevel=9)
    bomb = zeros * (250_000 // len(zeros))
    assert len(bomb) * 1000 > 200 << 20
    started_s = time.process_time()
    assert ask(bomb, {**LOGIN, "Content-Encoding": "gzip"})[1]["X-ClickHouse-Exception-Code"] == "223"
    assert time.process_time() - started_s < 0.5
    part = '--line\r\nContent-Disposition: form-data; name="query"\r\nContent-Encoding: gzip\r\n\r\n'
    assert ask(part.encode() + bomb + b"\r\n--line--\r\n", FORM)[0] in (400, 413)


def test_a_session_may_be_named_and_holds_nothing(ask):
    for _ in range(2):
        assert ask("SELECT 1", session_id="mine", session_timeout=60, session_check=1)[2] == "1\n"


def test_a_query_is_ended_in_time_and_leaves_nothing_to_the_next(ask):
    slow = "SELECT sum(number) AS slow FROM numbers(1000000000000) FORMAT JSONCompact"
    assert ask(slow, max_execution_time=0.2)[0] == 408
    assert ask("SELECT 7 FORMAT TSVWithNames", max_execution_time=0.2)[2] == "7\n7\n"


class Held(ReadOnlyArchive):
    """Answers once it is told to."""

    def __init__(self) -> None:
        self.told = threading.Event()

    def answer(self, question) -> Answer:
        assert self.told.wait(30)
        return Answer(b"1\n", "TSV", "text/plain", "UTC", 1, 1, 1, 0.0, "select", ())

    def close(self) -> None:
        """Has no handle."""


def test_beyond_a_few_that_wait_clients_are_told_to_come_again(monkeypatch):
    monkeypatch.setattr(query_endpoint, "WAITING_MAX", 2)
    archive = Held()
    with serving(archive) as endpoint, ThreadPoolExecutor(3) as clients:
        asks = [clients.submit(asking(endpoint.host, endpoint.port), "SELECT 1") for _ in range(3)]
        try:
            status, headers, _ = next(as_completed(asks, timeout=20)).result()
            assert (status, headers["X-ClickHouse-Exception-Code"]) == (429, "202")
        finally:
            archive.told.set()
        assert sorted(ask.result()[0] for ask in asks) == [200, 200, 429]
