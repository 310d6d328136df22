"""A group is rolled to a release with another projection, and back: nobody's report counts twice."""

import asyncio
import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from schemas.topics import COMMANDS
from schemas.verdicts import CODES
from sinks.fingerprint import FINGERPRINT
from sinks.redis_connection import connect
from sinks.redis_store import RedisStore
from stream.core.apply import apply
from stream.operate.platform import formats
from tests.broker.traffic import send

pytestmark = [pytest.mark.stack, pytest.mark.timeout(280)]
OTHER_RELEASE = [sys.executable, "-m", "tests.broker.other_release"]


def other(platform, *arguments: str, ends: int = 0) -> str:
    """What `points` of the other release prints."""
    done = subprocess.run(
        [*OTHER_RELEASE, *arguments],
        env=os.environ | {"POINTS_HOME": str(platform.settings.home)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == ends, done.stdout + done.stderr
    return done.stdout + done.stderr


async def states(settings, name: str) -> list[tuple]:
    """Head and persons of each shard in one projection."""
    store = RedisStore(connect(settings.redis_url), name)
    found = [(await store.load_head(s), await store.persons(s)) for s in range(settings.shards)]
    await store.close()
    return found


def verdicts(platform) -> Counter:
    """How often each verdict was given to a record of an app."""
    rows = [
        (block.meta.sources[source].topic, CODES[verdict])
        for block in platform.accepted()
        for source, verdict in zip(
            *(block.rows.column(name).to_pylist() for name in ("source", "verdict")), strict=True
        )
        if source >= 0
    ]
    return Counter(verdict for topic, verdict in rows if topic != COMMANDS)


def test_built_beside_rolled_gone_back_and_finished(platform, points) -> None:
    metro, sent = platform.producer("app-metro"), 0

    def send_all_again(more: int) -> None:
        nonlocal sent
        sent += more
        total = sum(verdicts(platform).values()) + sent
        send(metro, "metro", 0, sent)
        metro.flush()
        platform.wait_until_decided(total)

    def kept_by_workers() -> list[str]:
        return [w.projection for w in formats.workers(platform.settings) if w.group == "intake"]

    first = platform.worker()
    send_all_again(600)
    told = other(platform, "doctor")
    assert re.search(r"not there in shards 0, 1, 2, 3: \d+ blocks with some [1-9]\d+ rows to fold", told)
    assert "run `points rebuild redis` before workers of this release start" in told
    told = other(platform, "rebuild", "redis")
    name = re.search(r"projection ([0-9a-f]{6}) is at the ledger's end in all 4 shards", told)[1]
    assert name != FINGERPRINT
    assert re.search(r"[1-9]\d* blocks, 6\d\d rows", told)
    beside = asyncio.run(states(platform.settings, name))
    assert [p for _, p in beside] == [p for _, p in asyncio.run(states(platform.settings, FINGERPRINT))]
    assert "about 5" in points("upgrade", "finish", "--dry-run")
    for told in (points("doctor"), other(platform, "doctor")):
        assert re.search(r"[0-9a-f]{6} of another release takes some \d+ MiB, \d+% of the keys", told)
        assert "`points upgrade finish` drops it" in told

    send_all_again(50)  # decided by the old release; the new one catches up from its own head
    second = platform.worker(program=OTHER_RELEASE)
    platform.wait_for(lambda: kept_by_workers() in ([FINGERPRINT, name], [name, FINGERPRINT]))
    assert "Workers of another release run" in other(platform, "upgrade", "finish", "--yes", ends=1)
    send_all_again(50)  # by a group of both
    first.terminate()
    first.wait(30)
    platform.wait_for(lambda: kept_by_workers() == [name])
    send_all_again(50)

    third = platform.worker()  # and back
    platform.wait_for(lambda: len(kept_by_workers()) == 2)
    second.terminate()
    second.wait(30)
    platform.wait_for(lambda: kept_by_workers() == [FINGERPRINT])
    send_all_again(50)
    logs = [platform.settings.home / "logs" / f"intake-test-{number}.log" for number in range(3)]
    assert ["rebuilding from the ledger" in log.read_text() for log in logs] == [True, False, False]
    assert third.poll() is None

    told = points("upgrade", "finish", "--yes")
    assert f"projection {name} of another release" in told
    assert int(re.search(r"dropped: ([\d,]+) keys", told)[1].replace(",", "")) > 500
    assert "nothing to drop" in points("upgrade", "finish")
    assert re.search(rf"ok +projection +{FINGERPRINT} is this release's\n", points("doctor"))
    assert {head for head, _ in asyncio.run(states(platform.settings, name))} == {None}
    assert verdicts(platform)["credited"] + verdicts(platform)["credited_in_part"] <= sent
    assert verdicts(platform)["duplicate"] == 600 + 650 + 700 + 750
    assert_redis_is_the_fold(platform)
    assert platform.rows() == platform.committed_records()


def assert_redis_is_the_fold(platform) -> None:
    """Of the projection that is in use."""
    found = asyncio.run(states(platform.settings, FINGERPRINT))
    folded: dict[int, tuple] = {}
    for block in platform.accepted():
        head, persons = folded.get(block.meta.shard, (None, {}))
        change = apply(block, head or type(found[0][0])(), persons, 0)
        folded[block.meta.shard] = change.head, persons | change.persons
    for shard, (head, persons) in folded.items():
        assert found[shard][0].hash == head.hash
        assert found[shard][1] == persons
