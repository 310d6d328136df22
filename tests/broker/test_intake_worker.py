"""The foundation, on a real broker: one Faust agent takes whole fetches of several topics, merged into
cycles, and every record gets exactly one row, whatever becomes of the workers."""

import signal
import time

import pytest

from schemas.topics import COMMANDS
from tests.broker.traffic import send

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


def test_every_record_gets_one_row_through_rebalances_a_kill_and_a_zombie(platform) -> None:
    metro, bus = platform.producer("app-metro"), platform.producer("app-bus")

    def send_both(first: int, count: int) -> None:
        send(metro, "metro", first, count)
        send(bus, "bus", first, count)
        metro.flush()
        bus.flush()

    send_both(0, 2_000)
    first = platform.worker()
    platform.wait_until_decided(4_000)
    assert any(
        len({s for s in block.rows.column("source").to_pylist() if s >= 0}) > 1
        for block in platform.accepted()
    ), "no cycle merged two topics"

    second = platform.worker()  # joins while records flow: a rebalance
    for part in range(10):
        send_both(2_000 + 100 * part, 100)
        time.sleep(0.3)  # the traffic's own pace
    platform.wait_until_decided(6_000)

    second.kill()  # its shards come back when its session ends
    send_both(3_000, 500)
    platform.wait_until_decided(7_000)

    third = platform.worker()
    platform.wait_for(lambda: "shard ready" in platform.logs().split("intake-test-2")[1])
    first.send_signal(signal.SIGSTOP)  # a zombie: it will wake up and believe that it still owns its shards
    send_both(3_500, 500)
    platform.wait_until_decided(8_000)
    first.send_signal(signal.SIGCONT)
    send_both(4_000, 500)
    platform.wait_until_decided(9_000)

    assert platform.rows() == platform.committed_records()
    assert set(platform.rows().values()) == {1}
    assert third.poll() is None


def test_offset_gaps_of_a_transactional_producer_are_no_losses(platform) -> None:
    producer = platform.producer("admin", **{"transactional.id": "t"})
    producer.init_transactions()
    platform.worker()
    for number in range(30):
        producer.begin_transaction()
        send(producer, "metro", 100 * number, 40)
        producer.flush()
        if number % 3 == 2:
            producer.abort_transaction()
        else:
            producer.commit_transaction()
    platform.wait_until_decided(20 * 40)
    assert platform.rows() == platform.committed_records()
    assert sum(topic != COMMANDS for topic, *_ in platform.rows()) == 20 * 40
