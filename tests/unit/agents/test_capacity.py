"""How many agents a machine has room for, and what says so."""

from __future__ import annotations

import asyncio

import pytest

from node.agents.capacity import FEWEST, MOST, capacity_of, cores, free_memory
from node.agents.host import MEASURE_S
from node.runtime import Runtime
from tests.unit.agents.house import host, living, simulated

GIB = 2**30


@pytest.mark.parametrize(
    ("free", "count", "genome", "seconds", "agents", "reason"),
    [
        (16 * GIB, 2, 5_000, 0.0, 32, "2 cores, 16 agents each"),
        (16 * GIB, 64, 5_000, 0.0, MOST, "64 cores, 16 agents each"),
        (GIB // 8, 8, 400_000, 0.0, 20, "a quarter of 0.1 GiB of free memory"),
        (None, 8, 400_000, 0.5, 20, "500.0 ms an answer, all within 10 s"),
        (0, 1, 400_000, 9.0, FEWEST, "a quarter of 0.0 GiB of free memory"),
    ],
)
def test_the_tightest_of_memory_cores_and_time_counts(
    free: int | None, count: int, genome: int, seconds: float, agents: int, reason: str
) -> None:
    found = capacity_of(free, count, genome, seconds)
    assert (found.agents, found.reason) == (agents, reason)


def test_this_machine_says_what_it_has() -> None:
    assert cores() >= 1
    free = free_memory()
    assert free is None or free > 2**20


def test_a_node_whose_brain_turns_out_slow_has_less_room() -> None:
    async def main(runtime: Runtime) -> None:
        home = host(runtime, capacity=None, agents=1, canaries=())
        async with living(home):
            worker = home.worker("scripted")
            assert worker is not None
            worker.item_s = 1.0
            await asyncio.sleep(2 * MEASURE_S)
            assert FEWEST <= home.population.capacity == home.capacity.agents <= 10

    simulated(main)
