"""Which format each shard is written in, which releases work on it, and how a newer format begins."""

from typing import NamedTuple

from schemas.block import RELEASE
from schemas.formats import NEWEST
from schemas.kinds.format import FormatCommand
from schemas.state import Head
from stream.errors import OperatorError
from stream.operate.platform import adoption, kafka_admin
from stream.operate.platform.commands import Labels, say
from stream.operate.platform.kafka_admin import REQUEST_TIMEOUT_S
from stream.settings import CLIENT_ID_PREFIX, Settings

GROUPS = ("intake", "archive")


class Worker(NamedTuple):
    """A member of its group now. `release`, and `projection`, the fingerprint of what it keeps in
    Redis, are '' if it does not tell."""

    group: str
    host: str
    release: str
    projection: str


def workers(settings: Settings) -> list[Worker]:
    """The workers that run, on whichever machine. Raises OperatorError where Kafka does not say."""
    found = []
    with kafka_admin.told_to_operator(settings):
        admin = kafka_admin.admin_client(settings)
        asked = admin.describe_consumer_groups(list(GROUPS), request_timeout=REQUEST_TIMEOUT_S)
        for group, answer in asked.items():
            for member in answer.result().members:
                told = member.client_id.removeprefix(CLIENT_ID_PREFIX)
                release, _, projection = ("" if told == member.client_id else told).partition("-")
                found.append(Worker(group, member.host.lstrip("/"), release, projection))
    return sorted(found)


def activate(settings: Settings, number: int, said: Labels) -> dict[int, int]:
    """Tells each shard that format `number` begins; the command's offset in each. Raises OperatorError."""
    if number > NEWEST:
        raise OperatorError(
            f"Format {number} is none that this release knows: it is {RELEASE}, which writes up to {NEWEST}.",
            "upgrade `points` on this machine first; docs/changes.md says which release has which format.",
        )
    for shard, head in adoption.heads(settings).items():
        if number < head.format:
            raise OperatorError(
                f"Shard {shard} has format {head.format} in force: there is no way back to {number}.",
                "start releases that know it; see docs/upgrade.md, Going back.",
            )
    if other := [worker for worker in workers(settings) if worker.release != RELEASE]:
        told = ", ".join(f"{w.group} on {w.host}: {w.release or 'not told'}" for w in other)
        raise OperatorError(
            f"Workers of another release than {RELEASE} run ({told}): they would end, and their shards wait.",
            "upgrade these workers first, then repeat the command; see docs/upgrade.md, Roll.",
        )
    return say(
        settings,
        {s: FormatCommand(number=number, release=RELEASE, **said) for s in range(settings.shards)},
    )


def in_force(found: dict[int, Head]) -> dict[int, int]:
    """The format of each shard's next block."""
    return {shard: head.format for shard, head in sorted(found.items())}
