"""What every store promises where two releases keep projections of their own: neither touches the other's."""

import pytest

from schemas.state import ZERO_HASH, Person
from sinks.ports import Doubt
from tests.contract.steps import first, second
from tests.redis.changes import move

OTHER = "07e4c1"  # as the fingerprint of another release


def test_one_release_finds_nothing_of_what_another_keeps(server, store, run, shard) -> None:
    run(move(store, first(shard, persons={"u": Person({1: 1})}, members={5: [9]})))
    other = server.worker(OTHER)
    assert run(other.load_head(shard)) is None
    assert run(other.read(shard, ["u"], {5: [9]})) == (ZERO_HASH, {}, set())
    assert run(other.persons(shard)) == {}


def test_two_releases_keep_other_states_of_one_shard_and_each_goes_on_from_its_own(
    server, store, run, shard
) -> None:
    other = server.worker(OTHER)
    run(move(store, first(shard, persons={"u": Person({1: 1})}, members={5: [9]})))
    run(move(other, first(shard, persons={"u": Person({1: 7})}, members={5: [8]})))
    run(move(other, second(shard, persons={"u": Person({1: 8})}, retired=range(5, 6))))
    assert run(store.read(shard, ["u"], {5: [8, 9]})) == (bytes([1]) * 32, {"u": Person({1: 1})}, {9})
    assert run(other.read(shard, ["u"], {5: [8, 9]})) == (bytes([2]) * 32, {"u": Person({1: 8})}, set())
    run(move(store, second(shard)))
    for one in (store, other):
        assert run(one.load_head(shard)).seq == 2


def test_a_commit_of_another_release_between_read_and_commit_is_no_doubt(server, store, run, shard) -> None:
    """Each stands on its own head; whose block counts is for the ledger to say."""
    other = server.worker(OTHER)
    run(store.read(shard, [], {}))
    run(move(other, first(shard)))
    run(store.commit(first(shard)))
    run(other.read(shard, [], {}))
    run(move(store, second(shard)))
    run(other.commit(second(shard)))
    assert run(store.load_head(shard)) == run(other.load_head(shard))


def test_a_reset_forgets_its_own_projection_and_tells_how_much_that_was(server, store, run, shard) -> None:
    other = server.worker(OTHER)
    persons = {f"u{n}": Person({1: n + 1}) for n in range(30)}
    run(move(store, first(shard, persons=persons, members={5: [9]})))
    run(move(other, first(shard, persons={"u": Person({1: 7})}, members={5: [9], 6: [9]})))
    run(other.read(shard, [], {}))
    assert run(store.reset(shard)) == 31
    assert run(store.load_head(shard)) is None
    assert run(store.persons(shard)) == {}
    run(other.commit(second(shard)))  # what it watches was not touched
    assert run(other.read(shard, ["u"], {5: [9]})) == (bytes([2]) * 32, {"u": Person({1: 7})}, {9})
    assert run(other.reset(shard)) == 3
    assert run(store.reset(shard)) == 0


def test_a_torn_projection_is_torn_for_its_own_release_alone(server, store, run, shard) -> None:
    other = server.worker(OTHER)
    run(move(store, first(shard)))
    run(move(other, first(shard)))
    server.tear(shard)
    with pytest.raises(Doubt):
        run(store.read(shard, [], {}))
    assert run(store.load_head(shard)) is None
    assert run(other.load_head(shard)).seq == 1
    run(move(other, second(shard)))


def test_an_emptied_server_has_lost_all_projections(server, store, run, shard) -> None:
    other = server.worker(OTHER)
    for one in (store, other):
        run(move(one, first(shard)))
        run(one.read(shard, [], {}))
    server.empty(shard)
    for one in (store, other):
        with pytest.raises(Doubt):
            run(one.commit(second(shard)))
        assert run(one.load_head(shard)) is None


def test_what_fails_inside_a_commit_tears_no_other_projection(server, store, run, shard) -> None:
    other = server.worker(OTHER)
    run(move(other, first(shard, members={5: [9]})))
    run(move(store, first(shard)))
    server.spoil(shard, 5)
    with pytest.raises(Doubt):
        run(move(store, second(shard, members={5: [9]})))
    assert run(store.load_head(shard)) is None
    assert run(other.read(shard, [], {5: [9]})).seen == {9}
