"""How many agents a machine has room for, and what says so."""

from __future__ import annotations

import pytest

from node.agents.capacity import FEWEST, MOST, capacity_of, cores, free_memory

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
