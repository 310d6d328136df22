"""The hook under aiokafka: the private names it stands on, and what it hands over without a broker."""

import inspect
from importlib.metadata import version

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher
from aiokafka.consumer.subscription_state import SubscriptionState, TopicPartitionState

from stream.engine import raw_consumer
from tests.batches import making


def test_the_private_names_of_aiokafka_are_there() -> None:
    """Fails with another aiokafka: then read its fetcher again, and the reader's tests against a broker."""
    assert version("aiokafka") == "0.14.0"
    names = {"MemoryRecords", "PartitionRecords", "has_next", "size_in_bytes", "highwater", "lso"}
    assert names <= {*fetcher.Fetcher._proc_fetch_request.__code__.co_names}
    assert "Fetcher" in AIOKafkaConsumer.start.__code__.co_names
    assert list(inspect.signature(fetcher.PartitionRecords).parameters)[:4] == [
        "tp",
        "records",
        "aborted_transactions",
        "fetch_offset",
    ]
    assert "next_fetch_offset" in fetcher.FetchResult.check_assignment.__code__.co_names
    assert list(inspect.signature(fetcher.Fetcher.fetched_records).parameters) == [
        "self",
        "partitions",
        "timeout",
        "max_records",
    ]
    assert "_subscriptions" in fetcher.Fetcher.__init__.__code__.co_names
    assert hasattr(SubscriptionState, "subscription")
    assert hasattr(TopicPartitionState, "position")


def test_the_package_is_not_changed() -> None:
    assert fetcher.Fetcher._proc_fetch_request.__globals__["MemoryRecords"] is fetcher.MemoryRecords
    ours = raw_consumer._RawFetcher._proc_fetch_request.__globals__
    assert ours["MemoryRecords"] is raw_consumer._RawRecords
    assert AIOKafkaConsumer.start.__globals__["Fetcher"] is fetcher.Fetcher


def fetches(data: bytes, first: int) -> list[raw_consumer.RawFetch]:
    records = raw_consumer._RawRecords(data)
    return list(raw_consumer._RawPartition(None, records, [(1, 0)], first, None, None, True, 1))


def test_a_fetch_moves_the_position_behind_its_last_whole_batch() -> None:
    whole, piece = making.of([b"v"] * 3, base=5), making.of([b"w"] * 9, base=8)[:-1]
    [fetch] = fetches(whole + piece, 6)
    assert (fetch.data, fetch.first, fetch.next, fetch.aborted) == (whole + piece, 6, 8, [(1, 0)])


def test_a_fetch_without_a_whole_batch_moves_nothing() -> None:
    records = raw_consumer._RawRecords(making.of([b"v"])[:-1])
    assert records.has_next()
    [fetch] = fetches(records.data, 6)
    assert (fetch.first, fetch.next) == (6, 6)
    assert not raw_consumer._RawRecords(None).has_next()
