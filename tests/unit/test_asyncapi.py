"""The AsyncAPI document: references lead somewhere, schemas are the published ones, examples are true."""

import json
import re
from collections.abc import Iterator

import jsonschema
import pytest

from schemas.asyncapi import APP_ID
from schemas.export import ROOT
from schemas.kinds.app import App, checked
from schemas.topics import outcomes_topic
from tests.unit.test_contracts import CONTEXT, messages

DOCUMENT = json.loads((ROOT / "docs/asyncapi.json").read_text("utf-8"))
MESSAGES = DOCUMENT["components"]["messages"]
OUTCOMES = sorted(path.stem for path in (ROOT / "schemas/examples/outcome").glob("*.json"))


def references(node: object) -> Iterator[str]:
    """Every $ref below a node."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def resolve(reference: str) -> dict:
    node = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_every_reference_leads_to_a_part_of_the_document() -> None:
    found = set(references(DOCUMENT))
    assert all(reference.startswith("#/") and resolve(reference) for reference in found)
    for operation in DOCUMENT["operations"].values():
        channel = operation["channel"]["$ref"]
        assert all(m["$ref"].startswith(f"{channel}/messages/") for m in operation["messages"])


def test_it_has_what_the_specification_requires() -> None:
    """No locked package has the official JSON Schema, against which the whole was checked by hand."""
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(DOCUMENT["info"])
    assert {"host", "protocol"} <= set(DOCUMENT["servers"]["kafka"])
    assert {o["action"] for o in DOCUMENT["operations"].values()} == {"send", "receive"}
    for channel in DOCUMENT["channels"].values():
        assert re.findall(r"\{(\w+)\}", channel["address"]) == list(channel["parameters"])


@pytest.mark.parametrize("name", ["report", "outcome"])
def test_schemas_are_the_published_ones_and_every_example_is_valid(name: str) -> None:
    schema = resolve(MESSAGES[name]["payload"]["$ref"])
    published = json.loads((ROOT / f"schemas/json/{name}.schema.json").read_text("utf-8"))
    published.pop("$schema")
    assert schema == (published["$defs"]["Report"] if name == "report" else published)
    assert MESSAGES[name]["examples"]
    for example in MESSAGES[name]["examples"]:
        jsonschema.Draft202012Validator(schema).validate(example["payload"])


@pytest.mark.parametrize("name", OUTCOMES)
def test_an_example_outcome_is_what_the_report_of_that_name_gets(name: str) -> None:
    app = CONTEXT.get(name, {}).get("topic", "intake.metro").split(".")[1]
    [*_, answer] = messages(name)[outcomes_topic(app)]
    [shown] = [e["payload"] for e in MESSAGES["outcome"]["examples"] if e["name"] == name]
    assert shown == json.loads(answer.value)
    key = MESSAGES["outcome"]["bindings"]["kafka"]["key"]
    jsonschema.Draft202012Validator(key).validate(answer.key.decode())


def test_the_app_ids_and_groups_of_the_document_are_those_of_the_platform() -> None:
    group = DOCUMENT["operations"]["receiveOutcome"]["bindings"]["kafka"]["groupId"]["pattern"]
    for name in ("metro", "bus-2", "a" * 31):
        assert checked(App(name, "operator", ["SZ-METRO"])).id == name
        assert re.fullmatch(APP_ID, name)
        assert re.search(group, f"app-{name}")
        assert re.search(group, f"app-{name}.reader")
    for name in ("Metro", "2bus", "a" * 32, ""):
        with pytest.raises(ValueError):
            checked(App(name, "operator", ["SZ-METRO"]))
        assert not re.fullmatch(APP_ID, name)
        assert not re.search(group, f"app-{name}")
