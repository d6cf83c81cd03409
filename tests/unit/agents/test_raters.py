"""Raters that contradict what the agents expect are believed less; nobody's ratings count without end."""

from __future__ import annotations

import pytest

from node.agents.fitness import HALF_LIFE_S, MAX_TOPICS, Fitness
from node.agents.raters import DAILY, DAY_S, Raters


def test_a_liar_is_found_out_before_anybody_has_learnt() -> None:
    raters = Raters(b"me")
    for number in range(10):
        right = number == 7  # untrained agents are right once in ten times, and expect no more
        raters.heard(b"honest", float(right), 0.12)
        raters.heard(b"liar", float(not right), 0.12)
    assert raters.believed(b"honest") > 0.95
    assert raters.believed(b"liar") == 0.0


def test_the_nodes_own_word_is_believed_whatever_its_agents_think() -> None:
    raters = Raters(b"me")
    for _ in range(50):
        raters.heard(b"me", 1.0, 0.01)
    assert raters.believed(b"me") == raters.weight(b"me", 0.0) == 1.0


def test_a_rater_that_says_very_much_has_only_its_share() -> None:
    raters = Raters(b"me")
    total = sum(raters.weight(b"busy", 100.0) for _ in range(5_000))
    assert total < DAILY * 4
    assert raters.weight(b"busy", 100.0 + 30 * DAY_S) > 0.3


def test_evidence_fades() -> None:
    fitness = Fitness().rated(1.0, topic="mood", now=1_000.0).rated(1.0, topic="mood", now=1_000.0)
    later = fitness.faded(1_000.0 + HALF_LIFE_S)
    assert (later.good, later.topics["mood"][0]) == pytest.approx((fitness.good / 2, fitness.good / 2))
    assert fitness.on("mood") > later.on("mood") > 0.5
    assert later.faded(0.0).good == later.good


def test_topics_are_apart_and_bounded() -> None:
    fitness = Fitness()
    for number in range(MAX_TOPICS + 5):
        fitness = fitness.rated(1.0, topic=f"t{number}", now=1.0)
    fitness = fitness.rated(0.0, topic="sums", now=1.0).rated(0.0, topic="sums", now=1.0)
    assert len(fitness.topics) <= MAX_TOPICS
    assert fitness.on("sums") < 0.5 < fitness.mean < fitness.on(f"t{MAX_TOPICS + 4}")
