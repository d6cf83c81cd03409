"""The seed experiment: births follow the rule, equal seeds live equal lives."""

from __future__ import annotations

import random

import pytest

from node.agents.seed import replay
from protocol.api.agents import SeedBirth, SeedEnd, SeedStep


@pytest.mark.parametrize("seed", range(20))
def test_births_and_population_are_as_the_rule_predicts(seed: int) -> None:
    events = list(replay(2, 20, 5, 0.01, random.Random(seed)))
    births = [event for event in events if isinstance(event, SeedBirth)]
    end = events[-1]
    assert isinstance(end, SeedEnd)
    assert end.population == 2 + len(births) == len(end.memory_norms)
    assert [event.question for event in events if isinstance(event, SeedStep)] == [5, 10, 15, 20]
    assert end.parents == [None, None, *(birth.parent for birth in births)]
    assert [birth.child for birth in births] == list(range(2, end.population))
    assert 2 <= len(births) <= 4


def test_equal_seeds_live_equal_lives() -> None:
    assert list(replay(3, 60, 5, 0.01, random.Random(7))) == list(replay(3, 60, 5, 0.01, random.Random(7)))
