"""What every store promises where several workers believe they have a shard, or Redis loses what it had."""

import asyncio

import pytest

from schemas.state import ZERO_HASH, Change, Head, Person
from sinks.ports import Doubt
from tests.contract.steps import change, first, second
from tests.redis.changes import move


def test_another_workers_commit_between_read_and_commit_is_a_doubt_and_nothing_of_ours_is_there(
    server, store, run, shard
) -> None:
    async def play() -> None:
        zombie = server.worker()
        await move(store, first(shard, persons={"u": Person({1: 1})}))
        await zombie.read(shard, ["u"], {5: [9]})
        await move(store, second(shard, persons={"u": Person({1: 2})}))
        stale = change(shard, bytes([1]) * 32, 3, persons={"u": Person({1: 9})}, members={5: [9]})
        with pytest.raises(Doubt):
            await zombie.commit(stale)
        with pytest.raises(Doubt):  # nor by trying again
            await zombie.commit(stale)
        for one in (store, zombie):
            snapshot = await one.read(shard, ["u"], {5: [9]})
            assert snapshot == (bytes([2]) * 32, {"u": Person({1: 2})}, set())
        await zombie.commit(change(shard, bytes([2]) * 32, 3))  # it has read again
        assert (await store.load_head(shard)).seq == 3

    run(play())


def test_an_idle_look_after_another_workers_commit_finds_it(server, store, run, shard) -> None:
    """What was watched by the look before was touched: no reason to refuse a read."""
    run(move(store, first(shard)))
    run(store.read(shard, [], {}))
    run(move(server.worker(), second(shard)))
    for _ in range(2):
        assert run(store.read(shard, [], {})).head_hash == bytes([2]) * 32
    run(store.commit(change(shard, bytes([2]) * 32, 3)))


def test_two_workers_at_once_move_a_shard_as_one_would(server, run, shard) -> None:
    """Each adds what it has read: no step of either is lost, or done on what the other has moved."""

    async def work(steps: int) -> int:
        worker, moved = server.worker(), 0
        while moved < steps:
            before = await worker.read(shard, ["u"], {5: [0]})
            count = before.persons.get("u", Person({1: 0})).lots[1] + 1
            hash_ = count.to_bytes(32, "big")
            head = Head(count, hash_)
            step = Change(shard, before.head_hash, head, {"u": Person({1: count})}, {5: [count]}, range(0))
            try:
                await worker.commit(step)
            except Doubt:
                continue
            moved += 1
        return moved

    async def play() -> None:
        await asyncio.gather(work(40), work(40), work(40))
        found = await server.worker().read(shard, ["u"], {5: list(range(200))})
        assert found.head_hash == (120).to_bytes(32, "big")
        assert found.persons == {"u": Person({1: 120})}
        assert found.seen == set(range(1, 121))

    run(play())


def test_of_two_commits_from_one_head_one_moves(server, run, shard) -> None:
    rivals = [
        change(shard, bytes([1]) * 32, seq, persons={"u": Person({seq: seq})}, members={5: [seq]})
        for seq in (2, 3)
    ]

    async def race() -> list:
        workers = [server.worker(), server.worker()]
        await move(workers[0], first(shard))
        await asyncio.gather(*(worker.read(shard, ["u"], {}) for worker in workers))
        commits = [worker.commit(rival) for worker, rival in zip(workers, rivals, strict=True)]
        results = await asyncio.gather(*commits, return_exceptions=True)
        assert sorted(isinstance(result, Doubt) for result in results) == [False, True]
        [winner] = [rival for rival, result in zip(rivals, results, strict=True) if result is None]
        assert await workers[0].load_head(shard) == winner.head
        seen = await workers[1].read(shard, ["u"], {5: [2, 3]})
        assert (seen.persons, seen.seen) == (winner.persons, {winner.head.seq})

    run(race())


def test_two_calls_at_once_of_one_worker_are_one_after_the_other(store, run, shard) -> None:
    run(move(store, first(shard, persons={"u": Person({1: 1})})))
    rivals = [change(shard, bytes([1]) * 32, seq, persons={"u": Person({seq: seq})}) for seq in (2, 3)]

    async def race() -> list:
        return await asyncio.gather(*(move(store, rival) for rival in rivals), return_exceptions=True)

    results = run(race())
    moved = [rival for rival, result in zip(rivals, results, strict=True) if result is None]
    assert len(moved) <= 1
    assert all(result is None or isinstance(result, Doubt) for result in results)
    persons = moved[0].persons if moved else {"u": Person({1: 1})}
    assert run(store.persons(shard)) == persons


@pytest.mark.parametrize("head", ["of the first block", "none"])
def test_a_redis_emptied_between_read_and_commit_is_a_doubt_and_stays_empty(
    server, store, run, shard, head: str
) -> None:
    """Also where it was made again up to the same head: that the head is the same proves nothing."""
    run(move(store, first(shard, persons={"u": Person({1: 1})}, members={5: [9]})))
    run(store.read(shard, ["u"], {5: [9]}))
    server.empty(shard)
    if head != "none":
        run(move(server.worker(), first(shard)))
    with pytest.raises(Doubt):
        run(store.commit(second(shard, persons={"v": Person({2: 2})})))
    found = run(store.read(shard, ["u", "v"], {5: [9]}))
    assert found == (ZERO_HASH if head == "none" else bytes([1]) * 32, {}, set())


def test_of_two_resets_at_once_one_is_in_doubt_and_no_commit_gets_between(server, store, run, shard) -> None:
    many = {f"u{n}": Person({1: 1}) for n in range(12_000)}
    run(move(store, first(shard, persons=many)))

    async def race() -> list:
        workers = [server.worker() for _ in range(3)]
        await workers[2].read(shard, [], {})
        following = second(shard, persons={"late": Person({2: 2})})
        resets = [asyncio.ensure_future(worker.reset(shard)) for worker in workers[:2]]
        return await asyncio.gather(*resets, workers[2].commit(following), return_exceptions=True)

    results = run(race())
    assert isinstance(results[2], Doubt | None)
    assert all(isinstance(r, Doubt | int) for r in results[:2])
    assert any(isinstance(r, int) for r in results[:2]), "one reset must come through"
    if run(store.load_head(shard)) is not None:  # the commit came before both: nothing of it is lost
        raise AssertionError("a shard that was reset has a head")
    assert run(store.persons(shard)) == {}


def test_a_head_that_moved_during_a_read_is_never_mixed(server, store, run, shard) -> None:
    """Persons belong to the head that is named with them, or the reader is told to recover."""
    run(move(store, first(shard, persons={"u": Person({1: 1})})))

    async def race() -> tuple:
        other = server.worker()
        await other.read(shard, [], {})
        moving = other.commit(second(shard, persons={"u": Person({1: 2})}))
        return await asyncio.gather(store.read(shard, ["u"], {}), moving, return_exceptions=True)

    snapshot, moved = run(race())
    assert moved is None
    if not isinstance(snapshot, Doubt):
        assert snapshot.persons["u"].lots[1] == snapshot.head_hash[0]
