"""`points query`: what it prints, for people, programs and files."""

import json
from collections.abc import Iterator
from unittest.mock import Mock

import pytest
from click.testing import CliRunner, Result

from sinks.clickhouse.client import chdb_folder
from sinks.clickhouse.read_only import ReadOnlyArchive
from sinks.clickhouse.run import NOTHING, LedgerBlock, Run
from stream.errors import OperatorError
from stream.operate.commands import query as command
from stream.query import endpoint as query_endpoint
from tests.archive.query.serving import TOKEN, serving


class Stack:
    """What `points query` needs of the settings."""

    clickhouse_dsn = "chdb:///nowhere"

    def __init__(self, url: str) -> None:
        self.query_url, self.query_token = url, TOKEN


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command.query, arguments)


@pytest.fixture
def archive(chdb, chdb_dsn, chains, shard, monkeypatch) -> Iterator[str]:
    """The condition of three rows: genesis and two credited."""
    blocks = chains.chain(shard, [(2, 0)])
    chdb.append(Run(shard, tuple(LedgerBlock(b, b.meta.seq) for b in blocks)), NOTHING)
    monkeypatch.setattr(query_endpoint, "log", Mock())  # it would be printed among the command's output
    with serving(ReadOnlyArchive(chdb_folder(chdb_dsn))) as endpoint:
        monkeypatch.setattr(command, "load", lambda: Stack(endpoint.url))
        yield f"shard = {shard}"


def test_rows_are_shown_as_a_table_as_json_and_as_they_come(archive):
    sql = f"SELECT seq, row, verdict, '碳积分' AS x FROM entries WHERE {archive} ORDER BY seq, row"
    table = run(sql)
    assert table.exit_code == 0, table.exception
    lines = table.output.splitlines()
    assert [cell.strip() for cell in lines[5].strip("│").split("│")] == ["1", "1", "credited", "碳积分"]
    assert lines[-1] == "3 rows"
    rows = json.loads(run(sql, "--json").output)
    assert rows[2] == {"seq": "1", "row": 1, "verdict": "credited", "x": "碳积分"}
    assert run(sql + " FORMAT CSV").output.splitlines()[0] == '0,0,"genesis","碳积分"'
    assert "genesis" in run(f"SELECT * FROM entries WHERE {archive} LIMIT 1").output


def test_what_an_app_sent_cannot_steer_a_terminal(archive):
    assert "a\\u001b[2Jb" in run("SELECT 'a\\x1b[2Jb' AS x").output


def test_a_terminal_is_told_what_was_read_and_how_long_it_took(archive, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert " rows read in " in run(f"SELECT seq FROM entries WHERE {archive}").output
    monkeypatch.delenv("FORCE_COLOR")
    assert " read in " not in run(f"SELECT seq FROM entries WHERE {archive}").output


def test_errors_say_what_to_do(archive, monkeypatch):
    error = run("SELECT * FROM nothing").exception
    assert isinstance(error, OperatorError)
    assert "UNKNOWN_TABLE" in error.message
    assert "SHOW TABLES" in error.todo
    monkeypatch.setattr(command, "load", lambda: Stack("http://127.0.0.1:1"))
    error = run("SELECT 1").exception
    assert isinstance(error, OperatorError)
    assert error.todo == "start it with: points worker archive."
