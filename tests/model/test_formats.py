"""A format that a release does not know: it decides nothing behind it, and says which release does."""

import asyncio

import msgspec
import pytest

from schemas.block import RELEASE
from schemas.command import encode_command
from schemas.formats import NEWEST
from schemas.kinds import Kind
from schemas.kinds.format import FormatCommand
from schemas.state import Change
from schemas.topics import COMMANDS
from schemas.verdicts import Verdict
from stream.core.kinds.command_kind import Circumstances
from stream.core.kinds.format import change, obey
from stream.engine.recovery import Expected, recover
from stream.errors import OperatorError
from tests.making import APPS, METRO, NOON_MS, SHARDS, cycle, head, record, registered, rules
from tests.model.driver import Faulty, Worker, World

LATER = NEWEST + 1


def said(number: int) -> bytes:
    return encode_command(FormatCommand(number=number, release="9.1", by="li"))


def world_with(number: int) -> World:
    """A report, the command, and a report behind it."""
    app = (COMMANDS, registered(APPS["metro"]), NOON_MS)
    reports = [(METRO, record(name), NOON_MS + at) for name, at in (("before", 1), ("after", 3))]
    return World([app, reports[0], (COMMANDS, said(number), NOON_MS + 2), reports[1]])


def last_rows(world: World) -> list[dict]:
    return [block.rows.to_pylist()[-1] for _, block in asyncio.run(world.accepted())]


def test_a_release_that_cannot_write_a_format_decides_nothing_of_that_cycle() -> None:
    world = world_with(LATER)
    with pytest.raises(OperatorError) as raised:
        asyncio.run(Worker(world).run())
    assert raised.value.message == (
        f"Shard 0: format {LATER} is to be written from here on, which release 9.1 can; this is release"
        f" {RELEASE}."
    )
    assert raised.value.todo.startswith("start release 9.1 or a later one: nothing was written")
    assert [row["kind"] for row in last_rows(world)] == [Kind.GENESIS, Kind.APP]


def test_a_release_that_finds_such_a_format_in_force_takes_nothing_up() -> None:
    """The command may be the last that a later release decided before it went away."""
    world = world_with(NEWEST)
    asyncio.run(Worker(world).run())
    now = asyncio.run(world.store.load_head(0))
    later = msgspec.structs.replace(now, format=LATER, format_release="9.1")

    async def moved() -> None:
        await world.store.read(0, [], {})
        await world.store.commit(Change(0, now.hash, later, {}, {}, range(0)))
        ports = Faulty(world)
        expected = Expected("test", SHARDS, rules())
        await recover(0, expected, ports.store, ports.ledger, ports.publisher)

    end = asyncio.run(world.ledger.end(0))
    with pytest.raises(OperatorError, match=f"format {LATER} is to be written from here on, which release 9"):
        asyncio.run(moved())
    assert asyncio.run(world.ledger.end(0)) == end


def test_the_format_in_force_said_again_changes_nothing() -> None:
    world = world_with(NEWEST)
    asyncio.run(Worker(world).run())
    row = last_rows(world)[-2]
    assert (row["kind"], row["verdict"], row["by"]) == (Kind.FORMAT, Verdict.COMMAND_APPLIED, "li")
    assert {block.format for _, block in asyncio.run(world.accepted())} == {NEWEST}


def test_there_is_no_way_back_behind_a_format() -> None:
    command = FormatCommand(number=2, release="9.1")
    in_force = head(format=3)
    met = Circumstances(in_force, cycle((COMMANDS, encode_command(command))), False)
    refused = obey(command, met)
    assert refused.verdict == Verdict.FORBIDDEN_OPERATION
    assert refused.detail == "number: format 3 is in force, and there is no way back"
    assert obey(FormatCommand(number=3, release="9.1"), met).verdict == Verdict.COMMAND_APPLIED
    forward = FormatCommand(number=4, release="9.2")
    assert obey(forward, met).verdict == Verdict.COMMAND_APPLIED
    after = change(forward, in_force)
    assert (after.format, after.format_release) == (4, "9.2")
