"""What an agent favours whatever is asked is learnt on canaries and taken out of its votes."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.leanings import FEWEST, Mark, cross_fitted, lean_of, level

KEY = b"teams..."


def says(truth: int, *probabilities: float) -> Mark:
    return Mark([math.log(p) for p in probabilities], truth, False, KEY, "teams")


def billing(rng: random.Random) -> Mark:
    """It always names the first choice, and yet gives the right one more than usual."""
    truth = rng.randrange(3)
    return says(truth, *([0.7, 0.15, 0.15] if truth == 0 else [0.55, 0.35, 0.10] if truth == 1 else [0.55, 0.10, 0.35]))


def test_an_agent_that_always_names_one_choice_still_tells_what_it_reads() -> None:
    rng = random.Random(1)
    lean = lean_of([billing(rng) for _ in range(60)])
    asked = [billing(rng) for _ in range(60)]
    before = sum(max(range(3), key=mark.logprobs.__getitem__) == mark.truth for mark in asked)
    after = sum(max(range(3), key=level(mark.logprobs, lean).__getitem__) == mark.truth for mark in asked)
    assert before < 30
    assert after == 60


def test_a_few_canaries_are_no_reason_to_change_a_vote() -> None:
    assert lean_of([says(0, 0.9, 0.1)] * (FEWEST - 1)) == []
    assert level([math.log(0.9), math.log(0.1)], []) == [math.log(0.9), math.log(0.1)]


def test_canaries_that_are_all_alike_do_not_teach_their_answer() -> None:
    assert lean_of([says(0, 0.2, 0.8)] * 40) == []
    lopsided = [*[says(0, 0.8, 0.2)] * 38, *[says(1, 0.2, 0.8)] * 2]
    assert lean_of(lopsided) == pytest.approx([0.0, 0.0], abs=1e-6)


def test_no_opinion_does_not_become_one() -> None:
    uniform = [math.log(0.5)] * 2
    assert level(uniform, [2.0, -2.0]) == uniform
    assert level([], [2.0, -2.0]) == []


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_a_levelled_vote_is_normalised(lean: list[float]) -> None:
    levelled = level([math.log(p) for p in (0.4, 0.3, 0.2, 0.1)], lean)
    assert math.fsum(math.exp(x) for x in levelled) == pytest.approx(1.0)


def test_no_canary_is_judged_with_a_leaning_that_it_taught() -> None:
    """Answers that say nothing about the truth look no better than chance, however the leanings are fitted."""
    rng = random.Random(7)
    marks = {}
    for number in range(300):
        p = rng.random()
        marks[str(number)] = says(rng.randrange(2), p, 1 - p)
    found = cross_fitted([marks], [1.0], 0.5)
    assert len(found) > 280
    assert sum(right for _, right in found.values()) / len(found) == pytest.approx(0.5, abs=0.08)
