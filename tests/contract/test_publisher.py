"""What every publisher promises: all messages, in topic and shard's partition, with their keys."""

import secrets

from schemas.outcome import Message
from schemas.topics import DEAD_LETTERS, outcomes_topic

SHARD = 2


def test_messages_arrive_in_their_topic_and_partition_with_their_keys(publisher, run) -> None:
    publisher, records = publisher
    mark = secrets.token_hex(4).encode()
    messages = {
        outcomes_topic("metro"): [Message(b"u1", mark + b"1"), Message(None, mark + b"2")],
        outcomes_topic("bus"): [Message(b"u2", mark + b"3")],
        DEAD_LETTERS: [Message(None, mark + b"4")],
    }
    run(publisher.start())
    assert run(publisher.publish(SHARD, messages)) == set()
    for topic, sent in messages.items():
        found = [r for r in records(topic, 10) if r[2].startswith(mark)]
        assert found == [(SHARD, m.key, m.value) for m in sent]


def test_a_publication_larger_than_a_batch_arrives_whole_and_in_order(publisher, run) -> None:
    publisher, records = publisher
    mark = secrets.token_hex(4).encode()
    sent = [Message(b"u", mark + b"%06d" % n + secrets.token_bytes(2_000)) for n in range(2_000)]
    run(publisher.start())
    run(publisher.publish(SHARD, {outcomes_topic("metro"): sent}))
    found = [r for r in records(outcomes_topic("metro"), 2_000) if r[2].startswith(mark)]
    assert [value for _, _, value in found] == [m.value for m in sent]


def test_nothing_to_publish_is_published(publisher, run) -> None:
    publisher, _ = publisher
    run(publisher.start())
    run(publisher.publish(SHARD, {}))
