"""What the contracts look like from outside, written to files: `python -m schemas.export`.

schemas/json/*.schema.json, docs/asyncapi.json and docs/verdicts.md are made here, never by hand; a test fails
if they are stale.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from schemas.asyncapi import asyncapi_document
from schemas.kinds import Command
from schemas.outcome import OUTCOME_FIELDS
from schemas.report import json_schema
from schemas.verdicts import CODES, TABLE, Verdict

ROOT = Path(__file__).parent.parent
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def files() -> dict[Path, str]:
    """Every exported file and what it must contain."""
    return {
        ROOT / "schemas/json/report.schema.json": _json({"$schema": _DIALECT} | json_schema()),
        ROOT / "schemas/json/outcome.schema.json": _json({"$schema": _DIALECT} | outcome_schema()),
        ROOT / "schemas/json/command.schema.json": _json({"$schema": _DIALECT} | command_schema()),
        ROOT / "docs/asyncapi.json": _json(
            asyncapi_document(json_schema()["$defs"]["Report"], outcome_schema())
        ),
        ROOT / "docs/verdicts.md": verdict_page(),
    }


def outcome_schema() -> dict[str, Any]:
    """The JSON Schema of an outcome. Readers ignore fields that they do not know: more may come."""
    kinds: dict[type, dict[str, Any]] = {int: {"type": "integer"}, str: {"type": "string"}}
    properties = {name: kinds[kind] | {"description": text} for name, (kind, text) in OUTCOME_FIELDS.items()}
    properties["verdict"]["enum"] = list(CODES.values())
    return {
        "title": "Outcome",
        "description": "What became of a record. Published at least once: drop each (shard, seq, row) seen.",
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def command_schema() -> dict[str, Any]:
    """The JSON Schema of a command, whose `kind` says which."""
    text = json.dumps(msgspec.json.schema(Command))
    text = text.replace("\\\\Z", "$")  # Python's end of a text; $ is ECMA's
    schema: dict[str, Any] = json.loads(text.replace("\\n    ", "\\n"))  # a docstring's indent
    return {"title": "Command"} | schema


def verdict_page() -> str:
    """docs/verdicts.md."""
    lines = [
        "# Verdicts",
        "",
        "Every record gets exactly one verdict: the first of this list that applies.",
        "",
        "- *id*: the `report_id` is remembered; the same id again is a `duplicate`.",
        "- *claim*: the behaviour is taken; another report of it is `already_claimed`.",
        "- *dead letter*: where the record lies is published to `dead-letters`, too; its bytes stay in the",
        "  app's topic for 30 days and are kept nowhere else.",
        "",
        "| verdict | meaning | id | claim | dead letter | the app should |",
        "|---|---|---|---|---|---|",
    ]
    for verdict in Verdict:
        m = TABLE[verdict]
        marks = " | ".join("yes" if flag else "" for flag in (m.remembers_id, m.takes_claim, m.dead_letter))
        lines.append(f"| `{verdict.code}` | {m.meaning} | {marks} | {m.app_should} |")
    lines += ["", "This page is made from schemas/verdicts.py by `python -m schemas.export`.", ""]
    return "\n".join(lines)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes all files."""
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
