"""What every store promises: a shard moves from one head to the next as a whole, or not at all."""

import asyncio

import pytest

from schemas.state import ZERO_HASH, Change, Head, Lag, Person, Source
from sinks.ports import Doubt
from tests.making import APPS


def change(shard: int, prev: bytes, seq: int, retired: range = range(0), **parts: dict) -> Change:
    sources = {"commands": Source("c" * 22, 0), "intake.metro": Source("m" * 22, 9 * seq, 2**50, 20_000, seq)}
    lags = {"outcomes.metro": Lag(seq, bytes(32))}
    head = Head(seq, bytes([seq]) * 32, 1_000 + seq, -5, seq + 1, seq, lags, sources, APPS)
    return Change(shard, prev, head, parts.get("persons", {}), parts.get("members", {}), retired)


def first(shard: int, **parts: dict) -> Change:
    return change(shard, ZERO_HASH, 1, **parts)


def test_an_unknown_shard_has_no_head_and_nothing_in_it(store, run, shard) -> None:
    assert run(store.load_head(shard)) is None
    snapshot = run(store.read(shard, ["u"], {7: [1]}))
    assert (snapshot.head_hash, snapshot.persons, snapshot.seen) == (ZERO_HASH, {}, set())
    run(store.reset(shard))


def test_what_was_committed_is_read_back(store, run, shard) -> None:
    persons = {"u": Person({20_000: 5, 20_001: 7}, {19_970: 12}), "v": Person()}
    members = {19_970: [1, -1, 2**63 - 1, -(2**63)], 19_971: [1]}
    step = first(shard, persons=persons, members=members)
    run(store.commit(step))
    assert run(store.load_head(shard)) == step.head
    snapshot = run(
        store.read(shard, ["v", "u", "w"], {19_970: [1, -1, 3, -(2**63)], 19_971: [2], 19_972: [-1]})
    )
    assert snapshot.head_hash == step.head.hash
    assert snapshot.persons == persons
    assert snapshot.seen == {1, -1, -(2**63)}
    assert run(store.persons(shard)) == persons
    assert run(store.read(shard + 50_000, ["u"], {19_970: [1]})).persons == {}
    assert run(store.read(shard, [], {})).head_hash == step.head.hash


def test_a_commit_from_another_head_moves_nothing(store, run, shard) -> None:
    run(store.commit(first(shard, persons={"u": Person({1: 1})})))
    stale = change(shard, b"x" * 32, 2, persons={"u": Person({2: 2})}, members={5: [9]}, retired=range(3))
    for prev in (ZERO_HASH, b"x" * 32):
        stale.prev = prev
        with pytest.raises(Doubt):
            run(store.commit(stale))
    snapshot = run(store.read(shard, ["u"], {5: [9]}))
    assert (snapshot.persons, snapshot.seen) == ({"u": Person({1: 1})}, set())
    assert run(store.load_head(shard)).seq == 1


def test_of_two_commits_from_one_head_one_moves(store, run, shard) -> None:
    run(store.commit(first(shard)))
    rivals = [change(shard, bytes([1]) * 32, seq, persons={"u": Person({seq: seq})}) for seq in (2, 3)]

    async def race() -> list:
        return await asyncio.gather(*map(store.commit, rivals), return_exceptions=True)

    results = run(race())
    assert sorted(isinstance(result, Doubt) for result in results) == [False, True]
    [winner] = [rival for rival, result in zip(rivals, results, strict=True) if result is None]
    assert run(store.load_head(shard)) == winner.head
    assert run(store.persons(shard)) == winner.persons


def test_a_torn_shard_is_refused_until_it_was_reset(store, run, shard) -> None:
    run(store.commit(first(shard, persons={"u": Person({1: 1})}, members={5: [9]})))
    store.tear(shard)
    assert run(store.load_head(shard)) is None
    with pytest.raises(Doubt):
        run(store.commit(change(shard, bytes([1]) * 32, 2)))
    with pytest.raises(Doubt):
        run(store.read(shard, ["u"], {}))
    run(store.reset(shard))
    assert run(store.read(shard, ["u"], {5: [9]})) == (ZERO_HASH, {}, set())
    run(store.commit(first(shard)))
    assert run(store.load_head(shard)).seq == 1


def test_reset_forgets_one_shard_and_no_other(store, run, shard) -> None:
    for number in (shard, shard + 10_000):
        run(store.commit(first(number, persons={"u": Person({1: 1})}, members={5: [9]})))
    run(store.reset(shard))
    assert run(store.load_head(shard)) is None
    assert run(store.read(shard + 10_000, ["u"], {5: [9]})).seen == {9}
    assert run(store.load_head(shard + 10_000)).seq == 1


def test_of_two_resets_at_once_one_is_in_doubt_and_no_commit_gets_between(store, run, shard) -> None:
    many = {f"u{n}": Person({1: 1}) for n in range(12_000)}
    run(store.commit(first(shard, persons=many)))

    async def race() -> list:
        following = change(shard, bytes([1]) * 32, 2, persons={"late": Person({2: 2})})
        resets = [asyncio.ensure_future(store.reset(shard)) for _ in range(2)]
        return await asyncio.gather(*resets, store.commit(following), return_exceptions=True)

    results = run(race())
    assert not [r for r in results if r is not None and not isinstance(r, Doubt)]
    assert results[:2].count(None) >= 1, "one reset must come through"
    if run(store.load_head(shard)) is not None:  # the commit came before both: nothing of it is lost
        raise AssertionError("a shard that was reset has a head")
    assert run(store.persons(shard)) == {}


def test_retired_generations_are_gone_and_others_stay(store, run, shard) -> None:
    run(store.commit(first(shard, members={day: [day, -day] for day in (4, 5, 6, 7)})))
    run(store.commit(change(shard, bytes([1]) * 32, 2, members={7: [70]}, retired=range(2, 6))))
    lookups = {day: [day, -day, 70] for day in (4, 5, 6, 7)}
    assert run(store.read(shard, [], lookups)).seen == {6, -6, 7, -7, 70}


def test_a_commit_of_more_values_than_lua_unpacks(store, run, shard) -> None:
    persons = {f"u{n}": Person({1: n + 1}) for n in range(9_001)}
    members = {8: list(range(1, 20_000)), 9: [64 * n for n in range(1, 9_500)]}
    run(store.commit(first(shard, persons=persons, members=members)))
    snapshot = run(store.read(shard, list(persons), members))
    assert snapshot.persons == persons
    assert snapshot.seen == set(members[8]) | set(members[9])
    run(
        store.commit(change(shard, bytes([1]) * 32, 2, retired=range(200)))
    )  # 200 generations of many buckets
    assert run(store.read(shard, [], members)).seen == set()


def test_a_head_that_moved_during_a_read_is_never_mixed(store, run, shard) -> None:
    """Persons belong to the head that is named with them, or the reader is told to recover."""
    run(store.commit(first(shard, persons={"u": Person({1: 1})})))

    async def race() -> tuple:
        moving = change(shard, bytes([1]) * 32, 2, persons={"u": Person({1: 2})})
        return await asyncio.gather(
            store.read(shard, ["u"], {}), store.commit(moving), return_exceptions=True
        )

    snapshot, moved = run(race())
    assert moved is None
    if not isinstance(snapshot, Doubt):
        assert snapshot.persons["u"].lots[1] == snapshot.head_hash[0]
