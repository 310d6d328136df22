"""Received = Σ verdicts, for each app, at every moment, whatever goes wrong at whichever call of a port."""

import asyncio

import pytest

from schemas.state import Change
from schemas.topics import COMMANDS
from sinks.ports import Doubt
from stream.batches.fetch import Fetch
from stream.batches.reader import Unreadable
from stream.engine import tenure as tenure_module
from stream.telemetry.alerts import ALERTS
from stream.telemetry.intake import IntakeMetrics
from stream.telemetry.ports import WatchedStore
from tests.making import (
    APPS,
    BUS,
    METRO,
    NOON_MS,
    TOPIC_IDS,
    adoption,
    fetch,
    packed,
    record,
    registered,
    uid,
)  # fmt: skip
from tests.metrics.feeding import decide_all, records_by_app, scraped
from tests.model.driver import Fault, Faulty, World, fold

LAW = next(alert for alert in ALERTS if alert.name == "PointsLawViolated")


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(tenure_module, "RETRY_DELAYS_S", (0.0,))


def workload() -> list[tuple[str, bytes, int]]:
    """Credits, a repetition, a claim, caps, rubbish and a misrouted record of two apps."""
    made = [(COMMANDS, registered(app)) for app in APPS.values()]
    for n in range(12):
        made.append((METRO, record(f"m{n}", uid=uid(0, n % 2), activity={"distance_m": 9_000 + n})))
        made.append((BUS, record(f"b{n}", uid=uid(0, n % 2), methodology="SZ-BUS-BEV", source_txn=f"b{n}")))
    made += [(METRO, record("m1")), (METRO, record("again", source_txn="txn-m2")), (METRO, b'{"rubbish":')]
    made += [(METRO, record("elsewhere", uid=uid(1))), (BUS, b"{}")]
    return [(topic, value, NOON_MS + 10 * n) for n, (topic, value) in enumerate(made)]


def check_law(metrics: IntakeMetrics) -> None:
    now = scraped(metrics, "points_records_received_total", "points_verdicts_total")
    assert LAW.holds(now) == {}


def counted(metrics: IntakeMetrics) -> dict[tuple[str, ...], int]:
    sums = scraped(metrics).sums("points_verdicts_total", ("app", "verdict"))
    return {key: int(value) for key, value in sums.items() if value}


def test_counters_say_what_the_ledger_says() -> None:
    world = World(workload())

    async def play() -> None:
        metrics = await decide_all(world, Faulty(world), check_law)
        assert counted(metrics) == await records_by_app(world)
        assert len(counted(metrics)) > 6, "the workload's verdicts are not mixed"
        seen = scraped(metrics)
        assert seen.total("points_folded_blocks_total") == 1  # the genesis
        assert seen.total("points_blocks_total") == len(await world.accepted()) - 1
        assert seen.total("points_published_blocks_total") == len(await world.accepted())
        assert seen.total("points_lag_blocks") == seen.total("points_held_records") == 0

    asyncio.run(play())


class WithUnreadable(World):
    """Offsets 4 to 8 of metro are one batch that nobody can read."""

    def fetched(self, topic: str, first: int, count: int) -> Fetch | None:
        if topic != METRO or first >= 9 or first + count <= 4:
            return super().fetched(topic, first, count)
        before = super().fetched(topic, first, 4 - first) if first < 4 else None
        ms = self.sources[METRO][4][1]
        refused = packed(4, *[b""] * 5, ms=ms)._replace(refused=Unreadable("none", "its header"))
        return fetch(
            METRO, [*(before.records if before else []), refused], first, end=len(self.sources[METRO])
        )


def test_an_unreadable_batch_counts_all_its_offsets() -> None:
    world = WithUnreadable(workload())

    async def play() -> None:
        metrics = await decide_all(world, Faulty(world), check_law)
        assert counted(metrics) == await records_by_app(world)
        assert counted(metrics)["metro", "unreadable_batch"] == 5

    asyncio.run(play())


class WithDeleted(World):
    """The first six records of metro are gone."""

    def fetched(self, topic: str, first: int, count: int) -> Fetch | None:
        return None if topic == METRO and first < 6 else super().fetched(topic, first, count)


def test_records_deleted_unread_were_received_by_nobody(monkeypatch) -> None:
    monkeypatch.setattr(tenure_module, "OWED_WAIT_S", 0.01)
    said = [
        (COMMANDS, registered(APPS["metro"]), NOON_MS),
        (COMMANDS, adoption(METRO, TOPIC_IDS[METRO], 6), NOON_MS),
    ]
    world = WithDeleted(said + [(METRO, record(f"m{n}"), NOON_MS + n) for n in range(9)])

    async def play() -> None:
        metrics = await decide_all(world, Faulty(world), check_law)
        assert counted(metrics) == await records_by_app(world)
        assert counted(metrics)["metro", "credited"] == 3
        rows = scraped(metrics).sums("points_platform_rows_total", ("verdict",))
        assert rows["deleted_unread",] == 1

    asyncio.run(play())


def _calls() -> int:
    world = World(workload())
    ports = Faulty(world)
    asyncio.run(decide_all(world, ports, lambda _: None))
    return ports.calls


@pytest.mark.parametrize("answer", ["never asked", "lost"])
def test_a_doubt_at_any_call_neither_breaks_the_law_nor_counts_a_record_twice(answer: str) -> None:
    """One worker stays, so that what it counts in the end is all of the ledger."""
    doubt = Doubt("no answer")
    doubt.__cause__ = OSError("connection reset")
    fault = Fault(before=doubt) if answer == "never asked" else Fault(after=doubt)

    async def play(at: int, world: World) -> float:
        ports = Faulty(world, lambda number: fault if number == at else None)
        metrics = await decide_all(world, ports, check_law)
        assert counted(metrics) == await records_by_app(world), f"call {at}"
        return scraped(metrics).total("points_recoveries_total")

    recoveries = [asyncio.run(play(at, World(workload()))) for at in range(2, _calls())]
    assert sum(recoveries) > len(recoveries) / 2, "hardly any fault did anything"


def test_recoveries_say_who_did_not_answer() -> None:
    lost = Doubt("no answer")
    lost.__cause__ = OSError("connection reset")

    class Broken:
        async def read(self, *_: object) -> None:
            raise lost

    async def play(metrics: IntakeMetrics) -> None:
        metrics.assigned({0}, None)
        with pytest.raises(Doubt) as caught:
            await WatchedStore(Broken(), metrics).read(0, [], {})
        metrics.doubted(0, caught.value)
        metrics.doubted(0, Doubt("another worker owns this shard"))

    metrics = IntakeMetrics(1)
    asyncio.run(play(metrics))
    reasons = scraped(metrics).sums("points_recoveries_total", ("reason",))
    assert reasons == {("redis",): 1, ("kafka",): 0, ("overtaken",): 1}
    assert scraped(metrics).sums("points_service_up", ("service",)) == {("redis",): 0}


def test_in_a_step_of_many_blocks_the_one_that_was_in_doubt_is_counted_alone() -> None:
    """It stands in the middle: another worker's blocks came before it and after it."""
    world = World(workload())
    asyncio.run(decide_all(world, Faulty(world), check_law))
    chain = asyncio.run(world.accepted())
    mine = next(block for _, block in chain[2:] if len(block.meta.sources) > 1)
    metrics = IntakeMetrics(1)
    metrics.assigned({0}, None)
    for topic in world.sources:
        metrics.delivered(world.fetched(topic, 0, 1_000))
    before = next(block for _, block in chain if block.hash == mine.prev)
    metrics.saw_head(0, fold(chain[: before.meta.seq + 1])[0])
    metrics.appending(mine)
    blocks = [block.hash for _, block in chain[mine.meta.seq :]]
    metrics.applied(Change(0, mine.prev, fold(chain)[0], {}, {}, [], blocks))
    check_law(metrics)
    rows = sum(source >= 0 for source in mine.rows.column("source").to_pylist())
    assert sum(counted(metrics).values()) == rows > 0
    seen = scraped(metrics)
    assert seen.total("points_blocks_total") == 1
    assert seen.total("points_folded_blocks_total") == len(blocks) - 1 > 0
    assert seen.total("points_held_records") == 0


def test_a_record_without_a_row_breaks_the_law(monkeypatch) -> None:
    """The two numbers really come by two ways: a tally that loses rows of one verdict is seen."""
    from stream.telemetry import intake as counted_here

    whole = counted_here.tally
    monkeypatch.setattr(
        counted_here, "tally", lambda block: {k: n for k, n in whole(block).items() if k[1] != 2}
    )

    world = World(workload())

    async def play() -> None:
        metrics = await decide_all(world, Faulty(world), lambda _: None)
        assert LAW.holds(scraped(metrics)) == {("intake", "metro"): 1.0, ("intake", "bus"): 1.0}

    asyncio.run(play())
