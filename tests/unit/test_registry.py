"""The registry of apps: in force from a command's own row on, in the shard's state by `apply` alone."""

import json

import msgspec
import pytest

from schemas.command import decode_app
from schemas.topics import COMMANDS
from stream.apply import apply
from tests.making import APPS, METRO, NOON_MS, head, record, registered
from tests.unit.test_decide import decided, verdicts

SUSPENDED = msgspec.structs.replace(APPS["metro"], active=False)


def test_an_app_may_report_from_the_row_of_its_registration_to_that_of_its_suspension() -> None:
    """Each step is a cycle of its own, as a command ends one; the state goes on by `apply` alone."""
    state, found = head(apps={}), []
    for n, value in enumerate(
        [record("a"), registered(APPS["metro"]), record("b"), registered(SUSPENDED), record("c"),
         registered(APPS["metro"]), record("c")]
    ):  # fmt: skip
        topic = COMMANDS if b'"app"' in value else METRO
        block = decided((topic, value, NOON_MS + n), after=state)
        state = apply(block, state, {}, n).head
        found += verdicts(block)
    assert found == [
        "app_not_active", "command_applied", "credited", "command_applied", "app_not_active",
        "command_applied", "credited",
    ]  # fmt: skip
    assert state.apps == {"metro": APPS["metro"]}
    assert (
        decode_app(decided((COMMANDS, registered(SUSPENDED))).rows.column("inputs")[0].as_py()) == SUSPENDED
    )


@pytest.mark.parametrize(
    "said",
    [{"id": "Bus"}, {"id": "bus\n"}, {"id": ""}, {"operator": ""}, {"methodologies": "SZ-METRO"},
     {"active": 1}, {"surprise": 1}, {"methodologies": [""]}],
)  # fmt: skip
def test_a_malformed_registration_changes_nothing(said: dict) -> None:
    app = {"id": "bus", "operator": "x", "methodologies": []} | said
    value = json.dumps({"version": 1, "kind": "app", "app": app}).encode()
    assert verdicts(decided((COMMANDS, value))) == ["malformed"]
    assert verdicts(decided((METRO, value))) == ["forbidden_operation"]


def test_a_refused_report_keeps_what_it_said_of_its_activity() -> None:
    """Or the same id with another amount would look like a true repetition."""
    block = decided((METRO, record()), (METRO, record(activity={"steps": 7})), (METRO, b"{}"))
    assert verdicts(block) == ["credited", "duplicate", "malformed"]
    assert block.rows.column("unit").to_pylist() == ["distance_m", "steps", ""]
    assert block.rows.column("activity").to_pylist() == [1_000, 7, 0]
