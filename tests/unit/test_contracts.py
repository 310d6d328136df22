"""The published contracts: schemas and verdict page are fresh, and every example is what its name says."""

import json
from pathlib import Path

import jsonschema
import pytest

from schemas.export import ROOT, files
from schemas.formats import NEWEST
from schemas.limits import FAIR_ROWS_S
from schemas.outcome import OUTCOME_FIELDS, messages_of
from schemas.shards import shards_of
from schemas.state import Source
from schemas.topics import DEAD_LETTERS, outcomes_topic
from schemas.verdicts import CODES, DEAD_LETTER, TELLS_BALANCE, Verdict
from stream.core.cycle_input import Buffer
from stream.core.decide import decide
from stream.core.read import read_records
from tests.making import METRO, SHARDS, TODAY, TOPIC_IDS, fetch, head, packed, platform

FOLDER = ROOT / "schemas/examples/report"
CONTEXT = json.loads((FOLDER / "context.json").read_text("utf-8"))
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*valid_*.json"))
REPORT = jsonschema.Draft202012Validator(
    json.loads((ROOT / "schemas/json/report.schema.json").read_text("utf-8"))
)
OUTCOME = jsonschema.Draft202012Validator(
    json.loads((ROOT / "schemas/json/outcome.schema.json").read_text("utf-8"))
)
# What a schema of one record can say; everything else depends on rules, time, or what came before.
SCHEMA_KNOWS = {"malformed", "unsupported_version", "forbidden_operation"}


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_exported_files_are_fresh(path: Path) -> None:
    assert path.read_text("utf-8") == files()[path], "run `python -m schemas.export`"


def expected_verdict(name: str) -> str:
    if name.startswith("valid_"):
        return CONTEXT.get(name, {}).get("verdict", "credited")
    codes = [code for code in CODES.values() if name.removeprefix("invalid_").startswith(code + "_")]
    return max(codes, key=len)


def messages(name: str) -> dict:
    """What is published when an example is sent after those that it names."""
    context = CONTEXT.get(name, {})
    values = [(FOLDER / f"{n}.json").read_bytes() for n in [*context.get("after", []), name]]
    uid = json.loads(values[-1]).get("uid", "").lower()
    shard = context.get("partition", shards_of([uid], SHARDS)[0])
    topic = context.get("topic", METRO)
    buffer = Buffer(
        shard, {topic: Source(TOPIC_IDS.get(topic, "unregistered".ljust(22, "-")), 0)}, FAIR_ROWS_S
    )
    buffer.add(fetch(topic, [packed(0, *values)], shard=shard))
    place, cycle = platform(), buffer.take(head(), TODAY)
    reading = read_records(cycle, place.rules, place.dedupe_key, NEWEST)
    return messages_of(decide(place, head(), cycle, reading, {}, set(), 0))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_gets_the_verdict_of_its_name(name: str) -> None:
    published = messages(name)
    [*_, answer] = published[outcomes_topic(CONTEXT.get(name, {}).get("topic", METRO).split(".")[1])]
    outcome = json.loads(answer.value)
    assert outcome["verdict"] == expected_verdict(name), outcome["detail"]
    OUTCOME.validate(outcome)
    assert list(outcome) == list(OUTCOME_FIELDS)
    before_duplicate = SCHEMA_KNOWS | {"personal_data", "misrouted", "app_not_active"}
    assert (answer.key is None) == (outcome["verdict"] in before_duplicate)
    assert bool(outcome["report_id"]) == (outcome["verdict"] not in SCHEMA_KNOWS | {"personal_data"})
    told = outcome["verdict"] in {v.code for v in Verdict if v in TELLS_BALANCE}
    assert told or not outcome["balance_milli"]
    letters = published.get(DEAD_LETTERS, [])
    assert bool(letters) == (outcome["verdict"] in {v.code for v in Verdict if v in DEAD_LETTER})
    assert all((letter.key, letter.value) == (None, answer.value) for letter in letters)


def test_a_dead_letter_tells_where_the_record_lies_and_nothing_of_what_it_says() -> None:
    [letter] = messages("invalid_personal_data_phone")[DEAD_LETTERS]
    place = json.loads(letter.value)
    assert (place["topic"], place["topic_id"], place["partition"]) == (
        METRO,
        TOPIC_IDS[METRO],
        place["shard"],
    )
    assert (place["offset"], place["last_offset"]) == (0, 0)
    record = json.loads((FOLDER / "invalid_personal_data_phone.json").read_bytes())
    said = {value for value in record.values() if isinstance(value, str) and len(value) > 6}
    assert not any(value in letter.value.decode() for value in said)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_schema_agrees_where_it_can_know(name: str) -> None:
    cannot_know = CONTEXT.get(name, {}).get("schema") == "cannot know"
    refused = expected_verdict(name) in SCHEMA_KNOWS and not cannot_know
    assert REPORT.is_valid(json.loads((FOLDER / f"{name}.json").read_bytes())) == (not refused)


def test_every_verdict_that_an_app_can_earn_has_an_example() -> None:
    without = {
        "too_large",
        "methodology_not_in_force",
        "unreadable_batch",
        "deleted_unread",
        "internal_error",
        "command_applied",
        "expired",
        "genesis",
    }
    assert {expected_verdict(name) for name in EXAMPLES} == {v.code for v in Verdict} - without
