"""Whatever a worker's own tasks meet is a doubt of a shard, and no end of the process."""

import asyncio
import gc

import pytest

from sinks.ports import Doubt
from stream.engine import tenure as tenure_module
from tests.making import APPS, METRO, NOON_MS, record, registered
from tests.metrics.feeding import decide_all, records_by_app
from tests.model.driver import Fault, Faulty, World


@pytest.mark.parametrize("apart", [1, 2, 3, 4, 5])
def test_two_services_that_are_away_at_once_do_not_end_a_worker(apart: int, monkeypatch) -> None:
    """The answer that nobody waits for any more is an error, too: whatever is unhandled ends the process."""
    monkeypatch.setattr(tenure_module, "RETRY_DELAYS_S", (0.0,))
    unhandled: list[dict] = []

    async def play(number: int, world: World) -> int:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        fault = Fault(before=Doubt("no answer"))
        ports = Faulty(world, lambda n: fault if n in (number, number + apart) else None)
        await decide_all(world, ports, lambda _: None, fetch=2)
        assert sum((await records_by_app(world)).values()) == len(workload())
        return ports.calls

    number, calls = 2, 3
    while number < calls:
        calls = asyncio.run(play(number, World(workload())))
        number += 1
    gc.collect()
    assert calls > 25, "hardly any cycles"
    assert not unhandled


def workload() -> list[tuple[str, bytes, int]]:
    made = [("commands", registered(APPS["metro"]))]
    made += [(METRO, record(f"m{n}")) for n in range(12)]
    return [(topic, value, NOON_MS + 10 * n) for n, (topic, value) in enumerate(made)]
