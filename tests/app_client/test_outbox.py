"""What the outbox promises beside its answers: bounds, owners, repetition, and what is gone for good."""

import datetime as dt
import sqlite3

import msgspec
import pytest

from schemas.limits import OFFSET_MAX
from schemas.outcome import VERSION, Outcome
from schemas.shards import shards_of
from sinks.app_client.errors import ClientError, IdTakenError, OutboxFullError
from sinks.app_client.outbox import KEPT_MS, Arrived, Delivered, Outbox, Outcomes
from sinks.app_client.records import Record, check_record
from sinks.app_client.standing import Standing
from tests.making import NOON, NOON_MS, record, uid

NOW_MS = NOON_MS


@pytest.fixture
def outbox(outbox_path):
    outbox = Outbox(outbox_path, "metro", 3)
    begin(outbox, dict.fromkeys(range(4), (0, 0)))
    yield outbox
    outbox.close()


def begin(
    outbox: Outbox, bounds: dict, now_ms: int = NOW_MS, cluster_id: str = "kafka", topic_id: str = "outcomes"
) -> dict[int, int]:
    return outbox.begin_session(Outcomes(cluster_id, topic_id, bounds), now_ms)


def make(name: str, shard: int = 0, **said: object) -> Record:
    return check_record(record(name, uid=uid(shard), **said))


def send(outbox: Outbox, offset: int = 0, now_ms: int = NOW_MS, topic_id: str = "first") -> list[Record]:
    """Everything that is due is delivered."""
    batch = outbox.take_due(now_ms, 10)
    places = enumerate(batch, offset)
    outbox.end_flight([Delivered(topic_id, 0, place, sent.report_id) for place, sent in places], [], now_ms)
    return batch


def arrived(
    sent: Record, verdict: str, offset: int, report_id: str | None = None, topic_id: str = "first"
) -> Arrived:
    name = sent.report_id if report_id is None else report_id
    place = ("intake.metro", topic_id, 0, offset, offset, 0, offset, 0)
    o = Outcome(VERSION, name, verdict, "", 0, 5, 7, "", *place)
    return Arrived(0, offset, sent.uid, o, msgspec.json.encode(o))


def of_range(verdict: str, first: int, last: int, topic_id: str = "first") -> Arrived:
    o = Outcome(VERSION, "", verdict, "", 0, 0, 0, "", "intake.metro", topic_id, 0, first, last, 0, 9, 0)
    return Arrived(0, 9, "", o, msgspec.json.encode(o))


def test_full_is_an_error_and_nothing_of_a_list_is_taken(outbox) -> None:
    outbox.add([make("a"), make("b")])
    with pytest.raises(OutboxFullError, match="2 records are unanswered, at most 3"):
        outbox.add([make("c"), make("d")])
    assert outbox.pending() == {"queued": 2}
    outbox.add([make("a"), make("c")])
    assert outbox.pending() == {"queued": 3}


def test_an_answer_makes_room(outbox) -> None:
    outbox.add([make("a"), make("b"), make("c")])
    [first, *_] = send(outbox)
    outbox.follow([arrived(first, "credited", 0)], NOW_MS)
    outbox.add([make("d")])
    assert outbox.answer(first.report_id).points_milli == 5


def test_an_id_names_one_record(outbox) -> None:
    outbox.add([make("a")])
    with pytest.raises(IdTakenError):
        outbox.add([make("a", region="440304")])


def test_the_order_of_handing_over_is_the_order_of_sending(outbox) -> None:
    records = [make("b"), make("c"), make("a")]
    for one in records:
        outbox.add([one])
    assert outbox.take_due(NOW_MS, 10) == records


def test_a_refusal_that_names_no_id_is_matched_by_its_place(outbox) -> None:
    """As of a platform that reads less than this client."""
    outbox.add([make("a")])
    [sent] = send(outbox)
    outbox.follow([arrived(sent, "malformed", 0, report_id="")], NOW_MS)
    assert outbox.answer(sent.report_id).standing is Standing.REFUSED


def test_a_retried_verdict_is_retried_later_and_later(outbox) -> None:
    outbox.add([make("a")])
    now_ms = NOW_MS
    for copy in range(9):
        [sent] = send(outbox, copy, now_ms)
        outbox.follow([arrived(sent, "app_not_active", copy)], now_ms)
        assert outbox.pending() == {"app_not_active": 1}
        assert outbox.undelivered() == 0
        assert outbox.untold() == []
        wait_ms = min(60_000 * 2**copy, 3_600_000)
        assert outbox.take_due(now_ms + wait_ms - 1, 1) == []
        now_ms += wait_ms


def test_a_behaviour_ahead_of_the_platform_waits_for_its_time(outbox) -> None:
    outbox.add([make("a", at=NOON + dt.timedelta(hours=2))])
    [sent] = send(outbox)
    outbox.follow([arrived(sent, "occurred_in_future", 0)], NOW_MS)
    assert outbox.take_due(NOW_MS + 7_199_999, 1) == []
    assert outbox.take_due(NOW_MS + 7_200_000, 1) == [sent]


def test_without_retry_such_a_verdict_is_an_answer_and_can_be_handed_over_again(outbox_path) -> None:
    outbox = Outbox(outbox_path, "metro", 3, retry=False)
    begin(outbox, {0: (0, 0)})
    outbox.add([make("a")])
    [sent] = send(outbox)
    outbox.follow([arrived(sent, "app_not_active", 0)], NOW_MS)
    assert outbox.answer(sent.report_id).verdict == "app_not_active"
    outbox.add([make("a")])
    assert outbox.pending() == {"queued": 1}
    assert send(outbox, 1) == [sent]
    outbox.close()


def test_an_answer_that_the_app_failed_on_is_told_again_after_the_next_start(outbox, outbox_path) -> None:
    outbox.add([make("a")])
    [sent] = send(outbox)
    outbox.follow([arrived(sent, "credited", 0)], NOW_MS)
    [answer] = outbox.untold()
    outbox.mark_told([], [answer.report_id])
    assert outbox.untold() == []
    outbox.close()
    again = Outbox(outbox_path, "metro", 3)
    assert again.untold() == [answer]
    again.close()


def test_answers_are_kept_for_a_month(outbox) -> None:
    outbox.add([make("a")])
    [sent] = send(outbox)
    outbox.follow([arrived(sent, "credited", 0)], NOW_MS)
    begin(outbox, {0: (0, 1)}, NOW_MS + KEPT_MS)
    assert outbox.answer(sent.report_id)
    begin(outbox, {0: (0, 1)}, NOW_MS + KEPT_MS + 1)
    with pytest.raises(KeyError):
        outbox.answer(sent.report_id)


def test_outcomes_deleted_unread_make_an_honest_answer_and_no_guess(outbox) -> None:
    """A copy sent now would be too_late, where the first one may have been credited."""
    mine = [make("a", shard=1), make("b", shard=1), make("c", shard=2)]
    outbox.add(mine)
    a, b, c = outbox.take_due(NOW_MS, 3)
    outbox.end_flight(
        [Delivered("first", 1, 0, a.report_id), Delivered("first", 2, 0, c.report_id)], [b.report_id], NOW_MS
    )
    assert shards_of([a.uid, c.uid], 4) == [1, 2]
    starts = begin(outbox, {0: (0, 0), 1: (9, 20), 2: (0, 20), 3: (0, 0)})
    assert starts == {0: 0, 1: 9, 2: 0, 3: 0}
    for lost in (a, b):
        answer = outbox.answer(lost.report_id)
        assert (answer.verdict, answer.standing) == ("outcome_expired", Standing.UNKNOWN)
    assert outbox.pending() == {"sent": 1}


def test_another_platform_is_not_taken_for_this_one_nor_one_that_lost_outcomes(outbox) -> None:
    begin(outbox, {0: (0, 5)})
    outbox.add([make("a")])
    [sent] = send(outbox)
    outbox.follow([arrived(sent, "credited", 4)], NOW_MS)
    with pytest.raises(ClientError, match="another platform"):
        begin(outbox, {0: (0, 9)}, cluster_id="another")
    with pytest.raises(ClientError, match="the platform lost records"):
        begin(outbox, {0: (0, 2)})


def test_outcomes_made_again_are_read_from_their_beginning_and_what_is_gone_is_said(outbox) -> None:
    outbox.add([make("a")])
    [sent] = send(outbox)
    assert begin(outbox, {0: (0, 50)}, topic_id="made again") == {0: 0}
    assert outbox.answer(sent.report_id).verdict == "outcome_expired"
    outbox.add([make("b")])
    [other] = send(outbox, 1)
    outbox.follow([arrived(other, "credited", 1)], NOW_MS)
    assert outbox.answer(other.report_id).verdict == "credited"
    assert begin(outbox, {0: (0, 50)}, topic_id="made again") == {0: 2}


def test_a_place_in_a_topic_made_again_is_another_place(outbox) -> None:
    """The new topic's first record is refused without an id, at the offset of one that waits."""
    outbox.add([make("a")])
    [sent] = send(outbox)
    outbox.follow([arrived(sent, "malformed", 0, report_id="", topic_id="made again")], NOW_MS)
    assert outbox.answer(sent.report_id) is None
    outbox.follow([arrived(sent, "credited", 0)], NOW_MS)
    assert outbox.answer(sent.report_id).verdict == "credited"


@pytest.mark.parametrize("verdict", ["deleted_unread", "unreadable_batch"])
def test_what_is_said_of_a_range_is_said_of_each_record_in_it_and_they_go_out_again(outbox, verdict) -> None:
    outbox.add([make("a"), make("b"), make("c")])
    a, b, c = send(outbox, 4)
    outbox.follow([of_range(verdict, 0, 3), of_range(verdict, 5, OFFSET_MAX)], NOW_MS)
    assert outbox.pending() == {"sent": 1, verdict: 2}
    assert outbox.take_due(NOW_MS + 59_999, 10) == []
    assert send(outbox, 0, NOW_MS + 60_000, "made again") == [b, c]
    outbox.follow([of_range(verdict, 5, OFFSET_MAX)], NOW_MS)  # published again
    outbox.follow([arrived(b, "credited", 0, topic_id="made again"), arrived(a, "credited", 4)], NOW_MS)
    assert {outbox.answer(sent.report_id).verdict for sent in (a, b)} == {"credited"}
    assert outbox.pending() == {"sent": 1}


def test_a_file_belongs_to_one_app_and_one_client(outbox, outbox_path, tmp_path) -> None:
    with pytest.raises(ClientError, match="another process or client has it open"):
        Outbox(outbox_path, "metro", 3)
    outbox.close()
    with pytest.raises(ClientError, match="belongs to the app metro"):
        Outbox(outbox_path, "bus", 3)
    Outbox(outbox_path, "metro", 3).close()
    (tmp_path / "text").write_text("no database, but long enough to be taken for one " * 20)
    with pytest.raises(ClientError, match="not a database"):
        Outbox(tmp_path / "text", "metro", 3)
    with pytest.raises(ClientError, match="name a file in a folder"):
        Outbox(tmp_path / "nowhere" / "outbox", "metro", 3)
    with sqlite3.connect(tmp_path / "old") as old:
        old.execute("PRAGMA user_version=1")
    with pytest.raises(ClientError, match=r"another release of this client \(format 1, not 2\); go on with"):
        Outbox(tmp_path / "old", "metro", 3)
    assert outbox_path.stat().st_mode & 0o077 == 0, "others may read the uids"
