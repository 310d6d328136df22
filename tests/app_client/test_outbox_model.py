"""One outbox against a small model of the platform, over any interleaving of lost delivery reports,
crashes, repeated outcomes, verdicts that change, and other writers: no record gets a wrong answer."""

import tempfile
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from schemas.outcome import VERSION, Outcome
from sinks.app_client import outbox_file
from sinks.app_client.outbox import Arrived, Outbox
from sinks.app_client.records import check_record
from sinks.app_client.standing import RETRY_MAX_MS, Standing, standing_of
from tests.making import NOON_MS, record, uid

RECORDS = [check_record(record(name)) for name in "abc"]
IDS = [r.report_id for r in RECORDS]
REFUSED_FOR_GOOD = {IDS[2]: "activity_invalid"}  # the platform remembers its id, as that of a credited one
which = st.sampled_from(IDS)
FATES = ("delivered", "written, report lost", "never written")


class Copy:
    """One record of the intake topic: whose it is, and what the platform said."""

    def __init__(self, report_id: str, own: bool, same_bytes: bool) -> None:
        self.report_id, self.own, self.same_bytes, self.verdict = report_id, own, same_bytes, ""


class Interleavings(RuleBasedStateMachine):
    """The platform, the broker and every way in which they can talk past the client."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now_ms = NOON_MS
        self.intake: list[Copy] = []
        self.decided = 0
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
        self.read_to = self.outbox.begin_session({0: (0, len(self.outcomes))}, self.now_ms)[0]
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

    @rule(fates=st.lists(st.sampled_from(FATES), min_size=3, max_size=3), crash=st.booleans())
    def send(self, fates: list[str], crash: bool) -> None:
        delivered, failed = [], []
        batch = self.outbox.take_due(self.now_ms, 3)
        if self.stolen & {sent.report_id for sent in batch}:
            fates, crash = [FATES[0]] * 3, False  # with a doubt, nobody could tell the thief's copy from ours
        for sent, fate in zip(batch, fates, strict=False):
            if fate != "never written":
                delivered.append((0, len(self.intake), sent.report_id))
                self.intake.append(Copy(sent.report_id, True, True))
            if fate != "delivered" or crash:
                delivered = [place for place in delivered if place[2] != sent.report_id]
                failed.append(sent.report_id)
                self.doubted.add(sent.report_id)
        if crash:
            self.restart()
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

    @rule(count=st.integers(1, 4))
    def decide(self, count: int) -> None:
        for copy in self.intake[self.decided : self.decided + count]:
            copy.verdict = self.verdict_on(copy)
            seq = self.decided
            self.outcomes.append(
                Outcome(
                    VERSION, copy.report_id, copy.verdict, "", 0, 0, 0, "", "intake.metro", 0, seq, 0, seq, 0
                )
            )
            self.decided += 1

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
            self.intake.append(Copy(report_id, False, same_bytes))

    # --- what must hold ---------------------------------------------------------------------------------

    @invariant()
    def every_answer_is_one_that_the_platform_gave_to_these_bytes(self) -> None:
        for report_id, verdicts in self.told.items():
            given = [c.verdict for c in self.intake[: self.decided] if c.report_id == report_id and c.own]
            twin = [
                c.verdict for c in self.intake[: self.decided] if c.report_id == report_id and c.same_bytes
            ]
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
            self.send([FATES[0]] * 3, crash=False)
            self.decide(len(self.intake))
            self.read(len(self.outcomes) + 1)
            self.every_answer_is_one_that_the_platform_gave_to_these_bytes()
        assert self.outbox.pending() == {}
        for report_id in self.handed_over:
            credited = [c for c in self.intake if c.report_id == report_id and c.verdict == "credited"]
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
