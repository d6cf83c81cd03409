"""A small town for some virtual hours: the swarm keeps within its budget, and no family takes it over. The day of 2,000 agents on 200
nodes is `python -m tests.bench life_population`."""

from __future__ import annotations

import pytest

from tests.bench.life_population import Town, live


@pytest.mark.parametrize("seed", [1, 2])
def test_a_town_keeps_within_its_budget_and_no_family_takes_it_over(seed: int) -> None:
    day = live(Town(nodes=40, greedy=2, favoured=2, hours=5.0, seed=seed))
    assert all(have <= may for have, may in zip(day.population, day.budget, strict=True))
    assert max(day.largest_family) <= 0.2
    assert (max(day.orphans), max(day.unlisted), max(day.twice)) == (0, 0, 0)
    assert day.population[-1] > 2 * day.population[0]
    assert day.births > 200
