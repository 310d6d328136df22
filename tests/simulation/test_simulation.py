"""The simulation itself: a few seeds in every test run; `make simulate` runs thousands."""

import pytest

from tests.simulation.chance import Chance
from tests.simulation.run import simulate
from tests.simulation.world import World


@pytest.mark.parametrize("seed", range(900_001, 900_021))
def test_no_promise_breaks_whatever_fails(seed: int) -> None:
    outcome = simulate(seed)
    assert outcome.failure is None, outcome.failure


def test_a_seed_is_the_same_run_every_time() -> None:
    assert simulate(7) == simulate(7)


def test_a_fault_can_be_left_out_without_moving_the_others() -> None:
    everything = simulate(11)
    kept = frozenset(everything.fired[: len(everything.fired) // 2])
    assert set(simulate(11, only=kept).fired) <= kept


def test_a_broken_promise_is_noticed() -> None:
    world = World(Chance(3))
    world.run(30)
    in_use = world.upgrade.in_use(0)
    uid, person = next((u, p) for u, p in world.redis.all_persons(0, in_use).items() if p.lots)
    person.lots[next(iter(person.lots))] += 1
    world.redis.overwrite(0, in_use, uid, person)
    from tests.simulation.checks import check
    from tests.simulation.services import Violation

    with pytest.raises(Violation, match=uid):
        check(world)
