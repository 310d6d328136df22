"""What the outbox promises beside its answers: bounds, owners, repetition, and what is gone for good."""

import datetime as dt

import msgspec
import pytest

from schemas.outcome import VERSION, Outcome
from schemas.shards import shards_of
from sinks.app_client.errors import ClientError, IdTakenError, OutboxFullError
from sinks.app_client.outbox import KEPT_MS, Arrived, Outbox
from sinks.app_client.records import Record, check_record
from sinks.app_client.standing import Standing
from tests.making import NOON, NOON_MS, record, uid

NOW_MS = NOON_MS


@pytest.fixture
def outbox(outbox_path):
    outbox = Outbox(outbox_path, "metro", 3)
    outbox.begin_session(dict.fromkeys(range(4), (0, 0)), NOW_MS)
    yield outbox
    outbox.close()


def make(name: str, shard: int = 0, **said: object) -> Record:
    return check_record(record(name, uid=uid(shard), **said))


def send(outbox: Outbox, offset: int = 0, now_ms: int = NOW_MS) -> list[Record]:
    """Everything that is due is delivered."""
    batch = outbox.take_due(now_ms, 10)
    places = enumerate(batch, offset)
    outbox.end_flight([(0, place, sent.report_id) for place, sent in places], [], now_ms)
    return batch


def arrived(sent: Record, verdict: str, offset: int, report_id: str | None = None) -> Arrived:
    name = sent.report_id if report_id is None else report_id
    o = Outcome(VERSION, name, verdict, "", 0, 5, 7, "", "intake.metro", 0, offset, 0, offset, 0)
    return Arrived(0, offset, sent.uid, o, msgspec.json.encode(o))


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
    outbox.begin_session({0: (0, 0)}, NOW_MS)
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
    outbox.begin_session({0: (0, 1)}, NOW_MS + KEPT_MS)
    assert outbox.answer(sent.report_id)
    outbox.begin_session({0: (0, 1)}, NOW_MS + KEPT_MS + 1)
    with pytest.raises(KeyError):
        outbox.answer(sent.report_id)


def test_outcomes_deleted_unread_make_an_honest_answer_and_no_guess(outbox) -> None:
    """A copy sent now would be too_late, where the first one may have been credited."""
    mine = [make("a", shard=1), make("b", shard=1), make("c", shard=2)]
    outbox.add(mine)
    a, b, c = outbox.take_due(NOW_MS, 3)
    outbox.end_flight([(1, 0, a.report_id), (2, 0, c.report_id)], [b.report_id], NOW_MS)
    assert shards_of([a.uid, c.uid], 4) == [1, 2]
    starts = outbox.begin_session({0: (0, 0), 1: (9, 20), 2: (0, 20), 3: (0, 0)}, NOW_MS)
    assert starts == {0: 0, 1: 9, 2: 0, 3: 0}
    for lost in (a, b):
        answer = outbox.answer(lost.report_id)
        assert (answer.verdict, answer.standing) == ("outcome_expired", Standing.UNKNOWN)
    assert outbox.pending() == {"sent": 1}


def test_another_platform_is_not_taken_for_this_one(outbox) -> None:
    outbox.begin_session({0: (0, 5)}, NOW_MS)
    outbox.follow([], NOW_MS)
    outbox.add([make("a")])
    [sent] = send(outbox)
    outbox.follow([arrived(sent, "credited", 4)], NOW_MS)
    with pytest.raises(ClientError, match="another platform"):
        outbox.begin_session({0: (0, 2)}, NOW_MS)


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
    assert outbox_path.stat().st_mode & 0o077 == 0, "others may read the uids"
