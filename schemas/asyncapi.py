"""The apps' interface as an AsyncAPI 3.0 document, from the same schemas and examples as everything else.

It is written from an app's side: the app sends reports and receives outcomes.
"""

import json
from pathlib import Path
from typing import Any

from schemas.report import PATTERNS, UNITS
from schemas.topics import intake_topic, outcomes_topic
from schemas.verdicts import TABLE

EXAMPLES = Path(__file__).parent / "examples"
APP_ID = "[a-z][a-z0-9-]{0,30}"
_BINDING = {"bindingVersion": "0.5.0"}
_KEY = {"type": "string", "pattern": f"^{PATTERNS['uid']}$", "description": "the person's uid"}


def asyncapi_document(report: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
    """The document; `report` and `outcome` are the JSON Schemas of the two messages, without references."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "points: reports and outcomes of apps",
            "version": "1",
            "description": "An app sends one report for each behaviour of a user, and receives one outcome"
            " for each record. docs/apps.md explains both. Written from the app's side.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"kafka": _server()},
        "channels": {
            "intake": _channel(intake_topic("{app}"), "What an app reports.", "report"),
            "outcomes": _channel(outcomes_topic("{app}"), "What became of the app's records.", "outcome"),
        },
        "operations": {"sendReport": _send(), "receiveOutcome": _receive()},
        "components": {
            "messages": {"report": _report_message(), "outcome": _outcome_message()},
            "schemas": {"report": report, "outcome": outcome},
            "securitySchemes": {
                name: {"type": name, "description": "user app-<id>, with the password of the operator"}
                for name in ("scramSha512", "scramSha256")
            },
        },
    }


def _server() -> dict[str, Any]:
    return {
        "host": "{bootstrap}",
        "protocol": "kafka-secure",
        "description": "SASL over TLS; only the embedded stack has SASL without TLS, on loopback.",
        "variables": {"bootstrap": {"description": "host:port of one or more brokers, from the operator"}},
        "security": [
            {"$ref": f"#/components/securitySchemes/{name}"} for name in ("scramSha512", "scramSha256")
        ],
    }


def _channel(address: str, title: str, message: str) -> dict[str, Any]:
    return {
        "address": address,
        "title": title,
        "description": "A person's partition is murmur2(uid) mod the topic's number of partitions, which"
        " is fixed for life and the same for every topic.",
        "parameters": {"app": {"description": f"the app's id, {APP_ID}; its Kafka user is app-<id>"}},
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {"kafka": {"topicConfiguration": {"retention.ms": 30 * 86_400_000}, **_BINDING}},
    }


def _send() -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": "#/channels/intake"},
        "messages": [{"$ref": "#/channels/intake/messages/report"}],
        "description": "Kafka's default partitioner with key = uid (librdkafka:"
        " partitioner=murmur2_random), acks=all, idempotence. When a send is in doubt, send the same bytes"
        " again: the worst is `duplicate`.",
    }


def _receive() -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": {"$ref": "#/channels/outcomes"},
        "messages": [{"$ref": "#/channels/outcomes/messages/outcome"}],
        "description": "At least once: drop a (shard, seq, row) that was seen. (topic, partition, offset)"
        " tell which record it is of, as the producer's delivery report gave them.",
        "bindings": {
            "kafka": {"groupId": {"type": "string", "pattern": rf"^app-{APP_ID}(\..+)?$"}, **_BINDING}
        },
    }


def _report_message() -> dict[str, Any]:
    return {
        "name": "report",
        "title": "Report",
        "summary": f"One behaviour of one person, in exactly one of {', '.join(UNITS)}.",
        "payload": {"$ref": "#/components/schemas/report"},
        "bindings": {"kafka": {"key": _KEY, **_BINDING}},
        "examples": _examples("report", "valid_*.json"),
    }


def _outcome_message() -> dict[str, Any]:
    return {
        "name": "outcome",
        "title": "Outcome",
        "summary": "What became of one record.",
        "payload": {"$ref": "#/components/schemas/outcome"},
        "bindings": {
            "kafka": {"key": _KEY | {"description": "the uid; none if it could not be read"}, **_BINDING}
        },
        "examples": _examples("outcome", "*.json"),
        "x-verdicts": {
            verdict.code: {"meaning": meaning.meaning, "the-app-should": meaning.app_should}
            for verdict, meaning in TABLE.items()
            if meaning.app_should != "-"
        },
    }


def _examples(folder: str, pattern: str) -> list[dict[str, Any]]:
    """The examples in files, which tests send; an outcome's has the name of the report that it answers."""
    return [
        {"name": path.stem, "payload": json.loads(path.read_text("utf-8"))}
        for path in sorted((EXAMPLES / folder).glob(pattern))
    ]
