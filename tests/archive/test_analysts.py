"""Analysts: one password each, what each may name, what is logged, and who may not ask for a while."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from sinks.clickhouse.client import chdb_folder
from sinks.clickhouse.errors import QueryEnded
from sinks.clickhouse.read_only import Answer, Question, ReadOnlyArchive
from stream import connections
from stream.errors import OperatorError
from stream.operate.commands import analyst as command
from stream.query import analysts
from stream.query import endpoint as query_endpoint
from stream.query.standing import PERIOD_S, Standing
from stream.telemetry.endpoint import MetricsEndpoint, listen, shown
from tests.archive.query.serving import TOKEN, Endpoint, serving
from tests.archive.test_query_endpoint import asking


@pytest.fixture
def home(tmp_path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


@pytest.fixture
def log(monkeypatch) -> Mock:
    log = Mock()
    monkeypatch.setattr(query_endpoint, "log", log)
    return log


@pytest.fixture
def served(chdb, chdb_dsn, home, log) -> Iterator[Endpoint]:
    chdb.high_water(0)
    with serving(ReadOnlyArchive(chdb_folder(chdb_dsn)), home) as endpoint:
        yield endpoint


def login(name: str, password: str) -> dict[str, str]:
    return {"X-ClickHouse-User": name, "X-ClickHouse-Key": password}


def test_each_analyst_has_a_password_of_its_own_which_nobody_keeps(home, served):
    ask = asking(served.host, served.port)
    anna, bo = analysts.add(home, "anna", "persons"), analysts.add(home, "bo", "totals")
    assert ask("SELECT 1", login("anna", anna))[0] == ask("SELECT 1", login("bo", bo))[0] == 200
    assert ask("SELECT 1", login("anna", bo))[0] == ask("SELECT 1", login("bo", TOKEN))[0] == 403
    kept = (home / "analysts.json").read_text()
    assert anna not in kept
    assert bo not in kept
    assert (home / "analysts.json").stat().st_mode & 0o777 == 0o600
    new = analysts.rotate(home, "anna")
    assert ask("SELECT 1", login("anna", anna))[0] == 403, "the old one ends at once"
    assert ask("SELECT 1", login("anna", new))[0] == 200
    analysts.remove(home, "anna")
    assert ask("SELECT 1", login("anna", new))[0] == 403
    assert ask("SELECT 1", login("bo", bo))[0] == 200


def test_who_sees_totals_names_no_view_of_persons(home, served):
    ask = asking(served.host, served.port)
    password = analysts.add(home, "bo", "totals")
    assert ask("SELECT count() FROM app_per_day", login("bo", password))[0] == 200
    for view in ("entries", "balances", "lots", "claims", "ledger_rows"):
        status, headers, text = ask(f"SELECT count() FROM {view}", login("bo", password))
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (403, "497"), text
    seen = analysts.add(home, "anna", "persons")
    assert ask("SELECT count() FROM entries", login("anna", seen))[0] == 200
    assert ask("SELECT count() FROM ledger_rows", login("anna", seen))[0] == 403


def test_a_query_is_logged_by_its_kind_and_never_by_its_values(home, served, log):
    ask = asking(served.host, served.port)
    password = analysts.add(home, "anna", "persons")
    log.info.reset_mock()
    ask(
        "SELECT uid FROM entries WHERE uid = 'secret-uid' AND app = {a:String}",
        login("anna", password),
        param_a="secret-app",
    )
    ask("SELECT count() FROM lots, entries WHERE uid = throwIf(1, 'secret-text')", login("anna", password))
    ask("SELECT * FROM system.errors WHERE 'secret'", login("anna", password))
    ask("SELECT 1", login("anna", "secret-password"))
    told = [call.kwargs for call in log.info.call_args_list]
    assert [(t["asker"], t["verb"], t["named"]) for t in told] == [
        ("anna", "select", "entries"), ("anna", "select", "entries lots"), ("anna", "select", ""),
        ("nobody", "", ""),
    ]  # fmt: skip
    assert told[0]["rows"] == 0
    assert [t.get("refused") for t in told[2:]] == [497, 516]
    assert all(t["duration_ms"] >= 0 for t in told)
    assert "secret" not in str(log.mock_calls)


class Endless:
    """Answers no query in time."""

    def answer(self, question: Question) -> Answer:
        raise QueryEnded.of(159, "TIMEOUT_EXCEEDED", "The query did not end, and was ended")

    def close(self) -> None:
        """Has nothing."""


def test_whose_queries_did_not_end_twice_is_refused_and_nobody_else(home, log):
    bo, anna = analysts.add(home, "bo", "totals"), analysts.add(home, "anna", "totals")
    with serving(Endless(), home) as endpoint:
        ask = asking(endpoint.host, endpoint.port)
        codes = [ask("SELECT 1", login("bo", bo))[1]["X-ClickHouse-Exception-Code"] for _ in range(4)]
        assert codes == ["159", "159", "201", "201"]
        assert ask("SELECT 1", login("anna", anna))[1]["X-ClickHouse-Exception-Code"] == "159"


def test_standing_is_good_again_after_ten_minutes():
    now_s = 0.0
    standing = Standing(lambda: now_s)
    standing.ended("bo")
    now_s = PERIOD_S + 1
    standing.ended("bo")
    assert standing.refused_for_s("bo") == 0, "the first was too long ago"
    now_s += 1
    standing.ended("bo")
    assert standing.refused_for_s("bo") == PERIOD_S
    assert standing.refused_for_s("anna") == 0
    now_s += PERIOD_S
    assert standing.refused_for_s("bo") == 0
    standing.ended("bo")
    assert standing.refused_for_s("bo") == PERIOD_S, "and the next within ten minutes counts with the last"


class Stack:
    """What `points analyst` needs of the settings."""

    query_url = "http://127.0.0.1:1"

    def __init__(self, home: Path) -> None:
        self.home = home


def test_the_command_adds_lists_rotates_and_removes(home, monkeypatch):
    monkeypatch.setattr(command, "load", lambda: Stack(home))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(command.analyst, arguments)
        if isinstance(done.exception, OperatorError):
            raise done.exception
        return done.output

    assert "points analyst add" in run("list")
    shown = run("add", "anna", "--sees", "totals")
    password = next(line.split()[1] for line in shown.splitlines() if line.startswith("password"))
    passwords = analysts.Passwords(home, "operators")
    assert passwords.check("anna", password) == analysts.Asker("anna", "totals")
    assert run("list").startswith("anna  sees totals, since ")
    run("rotate", "anna")
    assert passwords.check("anna", password) is None
    run("remove", "anna")
    for arguments in (("remove", "anna"), ("rotate", "anna"), ("add", "operator", "--sees", "totals")):
        with pytest.raises(OperatorError):
            run(*arguments)
    run("add", "anna", "--sees", "persons")
    with pytest.raises(OperatorError, match="already"):
        run("add", "anna", "--sees", "persons")
    (home / "analysts.json").write_text("{")
    with pytest.raises(OperatorError, match="damaged"):
        run("list")


def test_with_a_real_clickhouse_its_own_users_are_named(home, monkeypatch):
    stack = Stack(home)
    stack.query_url = None
    monkeypatch.setattr(command, "load", lambda: stack)
    error = CliRunner().invoke(command.analyst, ["add", "anna", "--sees", "totals"]).exception
    assert isinstance(error, OperatorError)
    assert "CREATE USER" in error.todo


def test_1100_half_requests_keep_nobody_out_and_end_in_time(served, monkeypatch):
    """They once used up the worker's descriptors, and it died at its next block."""
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_S", 1.0)
    ask = asking(served.host, served.port)
    with ExitStack() as stack:
        idle = []
        for _ in range(1_100):
            one = stack.enter_context(socket.create_connection((served.host, served.port), 10))
            one.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nX-Half: ")
            idle.append(one)
        began_s = time.monotonic()
        assert ask("SELECT 1", login("operator", TOKEN))[2] == "1\n"
        assert time.monotonic() - began_s < 5
        for one in idle:
            one.settimeout(10)
            with suppress(ConnectionError):  # ended with bytes of it unread
                assert one.recv(1) == b""


def test_a_body_that_does_not_come_is_not_waited_for(served, monkeypatch):
    monkeypatch.setattr(query_endpoint, "BODY_TIMEOUT_S", 0.2)
    with socket.create_connection((served.host, served.port), 10) as one:
        head = f"POST / HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: operator\r\nX-ClickHouse-Key: {TOKEN}\r\n"
        one.sendall(f"{head}Content-Length: 100\r\n\r\nSELECT".encode())
        assert one.recv(1000).startswith(b"HTTP/1.1 408")


def test_settings_that_drivers_always_send_are_taken(served):
    ask = asking(served.host, served.port)
    usual = {
        "extremes": 0,
        "async_insert": 0,
        "log_queries": 1,
        "result_overflow_mode": "throw",
        "compress": 0,
    }
    assert ask("SELECT 1", login("operator", TOKEN), **usual)[2] == "1\n"
    first = ask(
        "SELECT number FROM numbers(10000000) FORMAT JSONCompact",
        login("operator", TOKEN), max_result_rows=5, result_overflow_mode="break",
    )  # fmt: skip
    assert json.loads(first[2])["rows"] == 5
    assert ask("SELECT 1", login("operator", TOKEN), extremes=1)[1]["X-ClickHouse-Exception-Code"] == "164"


def test_half_requests_do_not_keep_anybody_from_a_workers_metrics():
    """Of each worker, so that nobody without a password ends one by its descriptors."""

    async def main() -> None:
        listening = listen({})
        endpoint = MetricsEndpoint(CollectorRegistry(), listening)
        await endpoint.start()
        host, _, port = shown(listening).partition(":")
        half = [await asyncio.open_connection(host, int(port)) for _ in range(200)]
        for _, writer in half:
            writer.write(b"GET /metrics HTTP/1.1\r\nX-Half: ")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 200")
        ended = [asyncio.create_task(one.read()) for one, _ in half[: 200 - connections.CONNECTIONS_MAX]]
        await asyncio.wait_for(asyncio.gather(*ended, return_exceptions=True), 10)
        for _, writer in half:
            writer.close()
        await endpoint.stop()

    asyncio.run(main())
