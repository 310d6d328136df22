"""Each kind of command has an example that is read and obeyed, and is nothing that an app may send."""

import json

import jsonschema
import pytest

from schemas.codec import read_report
from schemas.command import read_command
from schemas.export import ROOT
from schemas.formats import NEWEST
from schemas.kinds import COMMANDS, NAMES, Kind, kind_of
from schemas.refusal import Refusal, forbidden_kinds
from schemas.topics import COMMANDS as TOPIC
from schemas.verdicts import Verdict
from tests.making import record
from tests.unit.test_decide import decided

FOLDER = ROOT / "schemas/examples/command"
SCHEMA = jsonschema.Draft202012Validator(
    json.loads((ROOT / "schemas/json/command.schema.json").read_text("utf-8"))
)


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: NAMES[kind])
def test_each_kind_of_command_has_an_example_that_is_obeyed(kind: Kind) -> None:
    value = (FOLDER / f"{NAMES[kind]}.json").read_bytes()
    SCHEMA.validate(json.loads(value))
    command = read_command(value, NEWEST)
    assert command is not None
    assert (type(command), kind_of(command)) == (COMMANDS[kind], kind)
    assert read_command(value, command.since) == command
    assert read_command(value, command.since - 1) is None, "before the format that brought it"
    row = decided((TOPIC, value)).rows.to_pylist()[-1]
    assert (row["kind"], row["by"]) == (kind, "li.na")
    assert row["verdict"] in (Verdict.COMMAND_APPLIED, Verdict.CREDITED)  # of a replay its record's


def test_there_is_an_example_for_nothing_else() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {NAMES[kind] for kind in COMMANDS}


def test_no_app_may_send_what_the_platform_says_or_does() -> None:
    assert {NAMES[kind] for kind in Kind if kind not in (Kind.NONE, Kind.REPORT)} < forbidden_kinds(NEWEST)
    for kind in COMMANDS:
        found = read_report(record(kind=NAMES[kind]))
        assert found == Refusal(Verdict.FORBIDDEN_OPERATION, f"kind: no app may send {NAMES[kind]}")
