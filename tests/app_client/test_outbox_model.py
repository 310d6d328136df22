"""One outbox against a small model of the platform, over any interleaving of lost delivery reports,
crashes, repeated outcomes, verdicts that change, topics made again, and other writers: no record gets a wrong
answer."""

import tempfile
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from schemas.limits import OFFSET_MAX
from schemas.outcome import VERSION, Outcome
from sinks.app_client import outbox_file
from sinks.app_client.outbox import Arrived, Delivered, Outbox, Outcomes
from sinks.app_client.records import check_record
from sinks.app_client.standing import RETRY_MAX_MS, Standing, standing_of
from tests.making import NOON_MS, record, uid

RECORDS = [check_record(record(name)) for name in "abc"]
IDS = [r.report_id for r in RECORDS]
REFUSED_FOR_GOOD = {IDS[2]: "activity_invalid"}  # the platform remembers its id, as that of a credited one
which = st.sampled_from(IDS)
FATES = ("delivered", "written, report lost", "never written")


class Copy:
    """One record of an intake topic: whose it is, and what the platform said."""

    def __init__(self, report_id: str, own: bool, same_bytes: bool) -> None:
        self.report_id, self.own, self.same_bytes, self.verdict = report_id, own, same_bytes, ""


class Interleavings(RuleBasedStateMachine):
    """The platform, the broker and every way in which they can talk past the client."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now_ms = NOON_MS
        self.copies: list[Copy] = []  # of all topics that ever were
        self.intake: list[Copy] = []
        self.topic_id, self.decided = 0, 0
        self.lost: list[tuple[int, int]] = []  # (topic id, first offset) of what no adoption has named yet
        self.remembered: set[str] = set()
        self.active, self.failing = True, False
        self.outcomes: list[Outcome] = []
        self.handed_over: set[str] = set()
        self.doubted: set[str] = set()
        self.stolen: set[str] = set()
        self.told: defaultdict[str, list[str]] = defaultdict(list)
        self.start()

    def start(self) -> None:
        self.outbox = Outbox(Path(self.folder.name) / "outbox", "metro", 10)
        self.begin_session()

    def begin_session(self) -> None:
        self.read_to = self.outbox.begin_session(
            Outcomes("kafka", "outcomes", {0: (0, len(self.outcomes))}), self.now_ms
        )[0]
        self.tell()

    def tell(self) -> None:
        answers = self.outbox.untold()
        for answer in answers:
            self.told[answer.report_id].append(answer.verdict)
        self.outbox.mark_told([answer.report_id for answer in answers], [])

    # --- the app and the client -------------------------------------------------------------------------

    @rule(report_id=which)
    def hand_over(self, report_id: str) -> None:
        self.outbox.add([r for r in RECORDS if r.report_id == report_id])
        self.handed_over.add(report_id)

    def write(self, copy: Copy) -> int:
        self.copies.append(copy)
        self.intake.append(copy)
        return len(self.intake) - 1

    @rule(
        fates=st.lists(st.sampled_from(FATES), min_size=3, max_size=3),
        crash=st.booleans(),
        made_again_after=st.sampled_from([None, None, None, 0, 1, 2, 3]),
    )
    def send(self, fates: list[str], crash: bool, made_again_after: int | None) -> None:
        delivered, failed = [], []
        batch = self.outbox.take_due(self.now_ms, 3)
        if self.stolen & {sent.report_id for sent in batch}:
            fates, crash, made_again_after = (
                [FATES[0]] * 3,
                False,
                None,
            )  # with a doubt, nobody could tell the thief's copy from ours
        for number, (sent, fate) in enumerate(zip(batch, fates, strict=False)):
            if number == made_again_after:
                self.make_again()
            if fate != "never written":
                offset = self.write(Copy(sent.report_id, True, True))
                if fate == "delivered":
                    delivered.append(Delivered(str(self.topic_id), 0, offset, sent.report_id))
            if fate != "delivered":
                failed.append(sent.report_id)
                self.doubted.add(sent.report_id)
        if made_again_after is not None and made_again_after >= len(batch):
            self.make_again()  # after the last delivery report, before the client asks for the id
        if crash or made_again_after is not None:
            self.doubted |= {sent.report_id for sent in batch}
        if crash:
            self.restart()
        elif made_again_after is not None and batch:
            self.fail_and_go_on()
        else:
            self.outbox.end_flight(delivered, failed, self.now_ms)

    @rule(count=st.integers(1, 5))
    def read(self, count: int) -> None:
        arrived = [
            Arrived(0, self.read_to + i, uid(), o, msgspec.json.encode(o))
            for i, o in enumerate(self.outcomes[self.read_to : self.read_to + count])
        ]
        self.outbox.follow(arrived, self.now_ms)
        self.read_to += len(arrived)
        self.tell()

    @rule()
    def restart(self) -> None:
        self.outbox.close()
        self.start()

    @rule()
    def fail_and_go_on(self) -> None:
        self.begin_session()

    @rule(ms=st.sampled_from([1, 3_000, 61_000, RETRY_MAX_MS]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    # --- the platform, and others -----------------------------------------------------------------------

    def say(self, topic_id: int, first: int, last: int, verdict: str, report_id: str = "") -> None:
        place = ("intake.metro", str(topic_id), 0, first, last, 0, len(self.outcomes), 0)
        self.outcomes.append(Outcome(VERSION, report_id, verdict, "", 0, 0, 0, "", *place))

    @rule(count=st.integers(1, 4))
    def decide(self, count: int) -> None:
        if self.lost:  # the source stands still
            return
        for copy in self.intake[self.decided : self.decided + count]:
            copy.verdict = self.verdict_on(copy)
            self.say(self.topic_id, self.decided, self.decided, copy.verdict, copy.report_id)
            self.decided += 1

    @rule(count=st.integers(1, 3))
    def find_unreadable(self, count: int) -> None:
        last = min(self.decided + count, len(self.intake)) - 1
        if not self.lost and self.decided <= last:
            for copy in self.intake[self.decided : last + 1]:
                copy.verdict = "unreadable_batch"
            self.say(self.topic_id, self.decided, last, "unreadable_batch")
            self.decided = last + 1

    @rule()
    def make_again(self) -> None:
        self.lost.append((self.topic_id, self.decided))
        for copy in self.intake[self.decided :]:
            copy.verdict = "deleted_unread"
        self.topic_id, self.decided, self.intake = self.topic_id + 1, 0, []

    @rule(passed_over=st.integers(0, 3))
    def adopt(self, passed_over: int) -> None:
        if not self.lost:
            return
        for topic_id, first in self.lost:
            self.say(topic_id, first, OFFSET_MAX, "deleted_unread")
        self.lost = []
        self.decided = min(passed_over, len(self.intake))
        if self.decided:
            for copy in self.intake[: self.decided]:
                copy.verdict = "deleted_unread"
            self.say(self.topic_id, 0, self.decided - 1, "deleted_unread")

    def verdict_on(self, copy: Copy) -> str:
        if not self.active:
            return "app_not_active"
        if copy.report_id in self.remembered:
            return "duplicate"
        if self.failing:
            return "internal_error"
        self.remembered.add(copy.report_id)
        return REFUSED_FOR_GOOD.get(copy.report_id, "credited")

    @rule(count=st.integers(1, 6))
    def publish_again(self, count: int) -> None:
        self.outcomes += self.outcomes[-count:]

    @rule(mood=st.sampled_from(["well", "failing", "app suspended"]))
    def platform_changes(self, mood: str) -> None:
        self.active, self.failing = mood != "app suspended", mood == "failing"

    @rule(report_id=which, same_bytes=st.booleans())
    def another_writes(self, report_id: str, same_bytes: bool) -> None:
        """Another process of this app: the same behaviour again, or (a promise broken) another by its id."""
        if same_bytes or report_id not in self.doubted:
            if not same_bytes:
                self.stolen.add(report_id)
            self.write(Copy(report_id, False, same_bytes))

    # --- what must hold ---------------------------------------------------------------------------------

    @invariant()
    def every_answer_is_one_that_the_platform_gave_to_these_bytes(self) -> None:
        for report_id, verdicts in self.told.items():
            given = [c.verdict for c in self.copies if c.report_id == report_id and c.own]
            twin = [c.verdict for c in self.copies if c.report_id == report_id and c.same_bytes]
            for verdict in verdicts:
                assert standing_of(verdict) is not Standing.RETRIED
                assert verdict in (twin if report_id in self.doubted else given)
            if {"credited", "activity_invalid"} & set(given):
                assert "duplicate" not in verdicts, "the first answer to our own record was known"
            final = [v for v in verdicts if standing_of(v) is not Standing.HELD]
            assert len(final) <= 1, "told twice"

    def teardown(self) -> None:
        """Once nothing fails any more, everything that was handed over is answered, and credited once."""
        self.active, self.failing = True, False
        for _ in range(10):
            for report_id in self.handed_over:  # what was held is handed over again
                self.hand_over(report_id)
            self.now_ms += RETRY_MAX_MS
            self.send([FATES[0]] * 3, crash=False, made_again_after=None)
            self.adopt(0)
            self.decide(len(self.intake))
            self.read(len(self.outcomes) + 1)
            self.every_answer_is_one_that_the_platform_gave_to_these_bytes()
        assert self.outbox.pending() == {}
        for report_id in self.handed_over:
            credited = [c for c in self.copies if c.report_id == report_id and c.verdict == "credited"]
            assert len(credited) == (0 if report_id in REFUSED_FOR_GOOD else 1)
            assert standing_of(self.told[report_id][-1]) in (
                Standing.RECORDED, Standing.REPEATED, Standing.REFUSED,
            )  # fmt: skip
        self.outbox.close()
        self.folder.cleanup()


def test_no_interleaving_gives_a_record_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        outbox_file, "_SETTINGS", ("journal_mode=WAL", "synchronous=OFF")
    )  # nobody cuts the power
    run_state_machine_as_test(
        Interleavings,
        settings=settings(
            max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
