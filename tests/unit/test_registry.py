"""The registry of apps: in force from a command's own row on, in the shard's state by `apply` alone."""

import json

import msgspec
import pytest

from schemas.command import decode_inputs
from schemas.kinds.app import AppCommand
from schemas.state import Head
from schemas.topics import COMMANDS
from stream.core.apply import apply
from tests.making import APPS, METRO, NOON_MS, adoption, head, record, registered, source
from tests.unit.test_decide import decided, verdicts

SUSPENDED = msgspec.structs.replace(APPS["metro"], active=False)


def test_an_app_may_report_from_the_row_of_its_registration_to_that_of_its_suspension() -> None:
    """Each step is a cycle of its own, as a command ends one; the state goes on by `apply` alone."""
    state = head(apps={}, sources={COMMANDS: source(0, COMMANDS)})
    assert verdicts(decided((METRO, record("a")), after=state)) == ["app_not_active"]
    found = []
    for n, value in enumerate(
        [registered(APPS["metro"]), record("b"), registered(SUSPENDED), record("c"),
         registered(APPS["metro"]), record("c")]
    ):  # fmt: skip
        topic = COMMANDS if b'"app"' in value else METRO
        block = decided((topic, value, NOON_MS + n), after=state)
        state = apply(block, state, {}, n).head
        found += verdicts(block)
    assert found == [
        "command_applied", "credited", "command_applied", "app_not_active", "command_applied", "credited",
    ]  # fmt: skip
    assert state.apps == {"metro": APPS["metro"]}
    row = decided((COMMANDS, registered(SUSPENDED))).rows.to_pylist()[0]
    assert decode_inputs(row["inputs"], AppCommand).app == SUSPENDED


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


def after_command(value: bytes, state: Head) -> tuple[str, str, Head]:
    """The verdict, what is said of it, and the head after it."""
    block = decided((COMMANDS, value), after=state)
    return verdicts(block)[0], block.rows.column("detail")[0].as_py(), apply(block, state, {}, 9).head


def test_a_registration_begins_to_read_the_apps_topic_and_a_later_one_moves_nothing() -> None:
    nobody = head(apps={}, sources={COMMANDS: source(0, COMMANDS)})
    verdict, _, after = after_command(registered(APPS["metro"]), nobody)
    assert verdict == "command_applied"
    assert after.sources[METRO] == source(0)
    moved = msgspec.structs.replace(after, sources=after.sources | {METRO: source(7)})
    verdict, _, after = after_command(registered(SUSPENDED), moved)
    assert verdict == "command_applied"
    assert after.sources[METRO] == source(7), "what a suspended app sends is read on"


@pytest.mark.parametrize("topic_id", ["", "another".ljust(22, "-")])
def test_a_registration_names_the_topics_id_and_never_another(topic_id: str) -> None:
    """Where records are read is moved by an adoption alone, which says what is lost."""
    said = registered(msgspec.structs.replace(SUSPENDED, topic_id=topic_id))
    verdict, detail, after = after_command(said, head())
    assert (verdict, detail) == ("forbidden_operation", "app.topic_id: must be the intake topic's, for good")
    assert after.apps == APPS
    assert after.sources[METRO] == source(0)


def test_a_new_app_without_its_topics_id_is_refused() -> None:
    nobody = head(apps={}, sources={COMMANDS: source(0, COMMANDS)})
    verdict, _, after = after_command(registered(msgspec.structs.replace(APPS["metro"], topic_id="")), nobody)
    assert (verdict, after.apps, set(after.sources)) == ("forbidden_operation", {}, {COMMANDS})


def test_an_app_whose_topic_was_made_again_is_suspended_as_it_was_registered() -> None:
    other = "another".ljust(22, "-")
    _, _, state = after_command(adoption(METRO, other, 0), head())
    verdict, _, after = after_command(registered(SUSPENDED), msgspec.structs.replace(state))
    assert verdict == "command_applied"
    assert (after.sources[METRO].topic_id, after.apps["metro"].active) == (other, False)
