"""A first block is never written over a loss: on a real broker, with the way out that the message names."""

import asyncio
import shutil
from pathlib import Path

import pytest

from schemas.topics import LEDGER
from sinks.kafka_ledger import KafkaLedger
from stream.errors import OperatorError
from stream.operate.platform.kafka_admin import admin_client
from stream.operate.stack import down, up
from stream.settings import Settings

pytestmark = pytest.mark.stack


async def ends(settings: Settings) -> list[int]:
    ledger = KafkaLedger(settings.kafka_client("admin"))
    try:
        return [await ledger.end(shard) for shard in range(settings.shards)]
    finally:
        await ledger.close()


def test_an_emptied_ledger_is_refused_until_it_is_put_back(tmp_path: Path) -> None:
    home = tmp_path / "points"
    try:
        settings = up(home, env={})
        down(home)
        shutil.copytree(home / "kafka", tmp_path / "copy")
        up(home, env={})
        admin = admin_client(settings)
        admin.delete_topics([LEDGER])[LEDGER].result()
        for _ in range(2):  # the topic is made again by the first, and then stays empty
            with pytest.raises(OperatorError, match="it lost its records") as caught:
                up(home, env={})
            assert "stack.json remembers" in caught.value.message
        assert asyncio.run(ends(settings)) == [0] * settings.shards

        down(home)
        shutil.rmtree(home / "kafka")
        shutil.copytree(tmp_path / "copy", home / "kafka")
        assert up(home, env={}) == settings
        assert asyncio.run(ends(settings)) == [1] * settings.shards
    finally:
        down(home)
