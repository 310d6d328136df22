"""What every store promises: a shard moves from one head to the next as a whole, or not at all."""

import msgspec
import pytest

from schemas.state import ZERO_HASH, Change, Person
from sinks.ports import Doubt
from tests.contract.steps import change, first, second
from tests.making import APPS
from tests.redis.changes import move


def test_an_unknown_shard_has_no_head_and_nothing_in_it(store, run, shard) -> None:
    assert run(store.load_head(shard)) is None
    snapshot = run(store.read(shard, ["u"], {7: [1]}))
    assert (snapshot.head_hash, snapshot.persons, snapshot.seen) == (ZERO_HASH, {}, set())
    run(store.reset(shard))


def test_what_was_committed_is_read_back(store, run, shard) -> None:
    persons = {"u": Person({20_000: 5, 20_001: 7}, {19_970: 12}), "v": Person()}
    members = {19_970: [1, -1, 2**63 - 1, -(2**63)], 19_971: [1]}
    step = first(shard, persons=persons, members=members)
    run(move(store, step))
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
    run(move(store, first(shard, persons={"u": Person({1: 1})})))
    stale = change(shard, b"x" * 32, 2, persons={"u": Person({2: 2})}, members={5: [9]}, retired=range(3))
    for prev in (ZERO_HASH, b"x" * 32):
        stale.prev = prev
        with pytest.raises(Doubt):
            run(move(store, stale))
    snapshot = run(store.read(shard, ["u"], {5: [9]}))
    assert (snapshot.persons, snapshot.seen) == ({"u": Person({1: 1})}, set())
    assert run(store.load_head(shard)).seq == 1


def test_a_commit_without_a_read_is_a_doubt_and_moves_nothing(store, run, shard) -> None:
    """A read is good for one commit, whatever becomes of that."""
    with pytest.raises(Doubt):
        run(store.commit(first(shard)))
    run(move(store, first(shard)))
    with pytest.raises(Doubt):
        run(store.commit(second(shard, persons={"u": Person({1: 1})})))
    run(store.read(shard, [], {}))
    with pytest.raises(Doubt):
        run(store.commit(first(shard)))
    assert run(store.load_head(shard)).seq == 1
    assert run(store.persons(shard)) == {}
    run(move(store, second(shard)))
    assert run(store.load_head(shard)).seq == 2


def test_the_idle_look_between_two_cycles_disturbs_neither(store, run, shard) -> None:
    run(move(store, first(shard)))
    for _ in range(3):
        assert run(store.read(shard, [], {})).head_hash == bytes([1]) * 32
    run(store.commit(second(shard)))
    assert run(store.read(shard, [], {})).head_hash == bytes([2]) * 32


def test_a_torn_shard_is_refused_until_it_was_reset(server, store, run, shard) -> None:
    run(move(store, first(shard, persons={"u": Person({1: 1})}, members={5: [9]})))
    run(store.read(shard, [], {}))
    server.tear(shard)
    assert run(store.load_head(shard)) is None
    with pytest.raises(Doubt):
        run(store.commit(second(shard)))
    with pytest.raises(Doubt):
        run(store.read(shard, ["u"], {}))
    run(store.reset(shard))
    assert run(store.read(shard, ["u"], {5: [9]})) == (ZERO_HASH, {}, set())
    run(move(store, first(shard)))
    assert run(store.load_head(shard)).seq == 1


def test_what_fails_inside_a_commit_leaves_a_shard_to_be_rebuilt(server, store, run, shard) -> None:
    """A part of it was done, which nobody undoes: no worker may take that for the head's state."""
    run(move(store, first(shard, persons={"u": Person({1: 1})}, members={4: [4]})))
    server.spoil(shard, 5)
    failing = second(shard, persons={"u": Person({1: 2})}, members={5: [9], 6: [10]})
    with pytest.raises(Doubt):
        run(move(store, failing))
    another = server.worker()
    for worker in (store, another):
        assert run(worker.load_head(shard)) is None
        with pytest.raises(Doubt):
            run(worker.read(shard, ["u"], {}))
    run(another.reset(shard))
    run(move(another, first(shard, persons={"u": Person({1: 1})}, members={4: [4]}), failing))
    found = run(another.read(shard, ["u"], {4: [4], 5: [9], 6: [10]}))
    assert found == (bytes([2]) * 32, {"u": Person({1: 2})}, {4, 9, 10})


def test_a_key_that_is_none_of_ours_is_found_by_a_read_and_the_shard_rebuilt(
    server, store, run, shard
) -> None:
    run(move(store, first(shard, members={5: [9]})))
    server.spoil(shard, 5)
    with pytest.raises(Doubt):
        run(store.read(shard, [], {5: [9]}))
    assert run(store.load_head(shard)) is None
    run(store.reset(shard))
    run(move(store, first(shard, members={5: [9]})))
    assert run(store.read(shard, [], {5: [9]})).seen == {9}


def test_reset_forgets_one_shard_and_no_other(store, run, shard) -> None:
    for number in (shard, shard + 10_000):
        run(move(store, first(number, persons={"u": Person({1: 1})}, members={5: [9]})))
    run(store.reset(shard))
    assert run(store.load_head(shard)) is None
    assert run(store.read(shard, ["u"], {5: [9]})) == (ZERO_HASH, {}, set())
    assert run(store.read(shard + 10_000, ["u"], {5: [9]})).seen == {9}
    assert run(store.load_head(shard + 10_000)).seq == 1


def test_the_registry_stays_while_cycles_do_not_change_it_and_goes_with_a_reset(store, run, shard) -> None:
    run(move(store, first(shard)))
    unchanged = msgspec.structs.replace(second(shard), registry=False)
    run(move(store, unchanged))
    assert run(store.load_head(shard)) == unchanged.head
    fewer = msgspec.structs.replace(unchanged.head, seq=3, hash=bytes([3]) * 32, apps={"bus": APPS["bus"]})
    run(move(store, Change(shard, unchanged.head.hash, fewer, {}, {}, range(0))))
    assert run(store.load_head(shard)) == fewer
    run(store.reset(shard))
    nobody = msgspec.structs.replace(first(shard).head, apps={})
    run(move(store, msgspec.structs.replace(first(shard), head=nobody, registry=False)))
    assert run(store.load_head(shard)) == nobody


def test_retired_generations_are_gone_and_others_stay(store, run, shard) -> None:
    run(move(store, first(shard, members={day: [day, -day] for day in (4, 5, 6, 7)})))
    run(move(store, second(shard, members={7: [70]}, retired=range(2, 6))))
    lookups = {day: [day, -day, 70] for day in (4, 5, 6, 7)}
    assert run(store.read(shard, [], lookups)).seen == {6, -6, 7, -7, 70}


def test_a_generation_that_is_retired_and_begun_again_holds_what_is_new(store, run, shard) -> None:
    run(move(store, first(shard, members={5: [1, 2]})))
    run(move(store, second(shard, members={5: [3]}, retired=range(5, 6))))
    assert run(store.read(shard, [], {5: [1, 2, 3]})).seen == {3}


def test_a_commit_of_more_values_than_one_command_takes(store, run, shard) -> None:
    persons = {f"u{n}": Person({1: n + 1}) for n in range(9_001)}
    members = {8: list(range(1, 20_000)), 9: [256 * n for n in range(1, 12_500)]}
    run(move(store, first(shard, persons=persons, members=members)))
    snapshot = run(store.read(shard, list(persons), members))
    assert snapshot.persons == persons
    assert snapshot.seen == set(members[8]) | set(members[9])
    run(move(store, second(shard, retired=range(200))))  # 200 generations of many buckets
    assert run(store.read(shard, [], members)).seen == set()
