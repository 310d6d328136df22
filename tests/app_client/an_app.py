"""An app in a process of its own, to be killed: `python an_app.py OUTBOX FIRST COUNT`, login in KAFKA_*.

Hands over behaviours number FIRST to COUNT - 1, one for each line that it reads; then waits for all answers.
What it prints: `handed <number> <report_id>`, `told <report_id> <verdict>`, `done`.
"""

import datetime as dt
import hashlib
import os
import sys
import time
from typing import Any

from sinks.app_client import Answer, AppClient


def login() -> dict[str, Any]:
    return {
        "bootstrap": os.environ["KAFKA_BOOTSTRAP"],
        "password": os.environ["KAFKA_PASSWORD"],
        "mechanism": "SCRAM-SHA-256",
        "security": "SASL_PLAINTEXT",
    }


def behaviour(number: int, at: dt.datetime, kind: str) -> dict[str, Any]:
    return {
        "uid": hashlib.md5(str(number % 50).encode()).hexdigest(),
        "methodology": "SZ-METRO",
        "occurred_at": at,
        "activity": {"distance_m": 100 + number},
        "source_txn": f"{kind}-{number}",
    }


def main() -> None:
    outbox, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    at = dt.datetime.fromtimestamp(float(os.environ["AT_S"]), dt.UTC)

    def say(*words: object) -> None:
        os.write(1, (" ".join(map(str, words)) + "\n").encode())  # whole lines, though two threads write

    def told(answer: Answer) -> None:
        say("told", answer.report_id, answer.verdict)

    with AppClient("metro", outbox, **login(), on_outcome=told) as client:
        for number in range(first, count):
            sys.stdin.readline()
            say("handed", number, client.report(**behaviour(number, at, os.environ["KIND"])))
        while client.pending():
            time.sleep(0.02)
    say("done")


if __name__ == "__main__":
    main()
