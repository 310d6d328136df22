"""The apps of a platform as an operator is shown them: the registry, beside what the broker has."""

import asyncio
from typing import NamedTuple

from schemas import topics
from stream.operate.platform import kafka_admin, kafka_quota
from stream.operate.platform.kafka_quota import PRODUCE_QUOTA
from stream.operate.platform.onboarding import app_principal, quota_errors, registry
from stream.operate.platform.shut_out import are_shut_out
from stream.settings import Settings


class Entry(NamedTuple):
    """One app; `produce_bytes_s` is 0 where no quota is set, `topics` what is wrong with its topics."""

    app: str
    active: bool
    operator: str
    methodologies: list[str]
    scenes: list[str]
    shards_in_force: int
    produce_bytes_s: int
    shut_out: bool
    topics: list[str]


def registered_apps(settings: Settings) -> list[Entry]:
    """All registered apps, in the order of their ids. Raises OperatorError."""
    found = sorted(registry(settings).items())
    users = [app_principal(app) for app, _ in found]
    with quota_errors(settings):
        quotas = asyncio.run(kafka_quota.quotas(settings.kafka_client("admin"), users))
    with kafka_admin.told_to_operator(settings):
        specs = [spec for app, _ in found for spec in topics.app_topic_specs(settings.shards, app)]
        differences = kafka_admin.topic_differences(kafka_admin.admin_client(settings), specs)
    shut_out = are_shut_out(settings)
    entries = []
    for (app, shards), user in zip(found, users, strict=True):
        first = shards[min(shards)]
        own = {topics.intake_topic(app), topics.outcomes_topic(app)}
        entry = Entry(
            app=app,
            active=first.active,
            operator=first.operator,
            methodologies=first.methodologies,
            scenes=first.scenes,
            shards_in_force=sum(registered == first for registered in shards.values()),
            produce_bytes_s=int(quotas.get(user, {}).get(PRODUCE_QUOTA, 0)),
            shut_out=app in shut_out,
            topics=[difference.text for difference in differences if difference.topic in own],
        )
        entries.append(entry)
    return entries
