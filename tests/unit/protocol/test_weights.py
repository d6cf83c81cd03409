"""What a vote weighs."""

from __future__ import annotations

import random

import pytest

from protocol.weights import MIN_WEIGHT, RATER_CAP, Evidence, effective, groups, merge_raters, merkle_root, skill, weight_alone, weights


def test_agents_of_whom_nothing_is_known_weigh_alike() -> None:
    assert len(set(weights([(0, 0, 0), (0, 0, 0), (0, 0, 0)], [0.0], 4))) == 1


def test_an_agent_that_is_always_wrong_weighs_the_least_and_never_against_itself() -> None:
    assert weight_alone(0, 200, 4) == MIN_WEIGHT
    assert weight_alone(180, 20, 4) > weight_alone(120, 80, 4) > MIN_WEIGHT


def test_copies_of_one_mind_weigh_as_one() -> None:
    lone, *copies = weights([(80, 20, 0), *[(80, 20, 1)] * 10], [0.0, 1.0], 2)
    assert sum(copies) == pytest.approx(lone, rel=1e-3)
    assert effective(10, 1.0) == 1.0
    assert effective(10, 0.0) == 10.0


def test_one_rater_cannot_ruin_a_reputation_alone() -> None:
    own = {"t": Evidence(100, 5, 0.0)}
    slander = {"t": Evidence(0, 900_000, 0.0)}
    merged = merge_raters(own, [slander], "t", 0.0)
    assert merged.bad <= 5 + RATER_CAP
    assert skill(merged.good, merged.bad, 2) > 0.6


def test_evidence_fades_and_a_future_date_does_not_make_it_grow() -> None:
    old = {"t": Evidence(64, 0, 0.0)}
    assert merge_raters(old, [], "t", 60 * 86_400.0).good == pytest.approx(16)
    assert merge_raters({"t": Evidence(64, 0, 1e12)}, [], "t", 0.0).good == 64


def test_colluders_are_one_group_whatever_brain_they_claim() -> None:
    rng = random.Random(3)
    honest = [{str(q): rng.random() < 0.7 for q in range(200)} for _ in range(4)]
    recognised = {str(q): rng.random() < 0.5 for q in range(200)}
    liars = [{q: seen and rng.random() < 0.7 for q, seen in recognised.items()} for _ in range(4)]
    numbers, rho = groups([f"brain {n}" for n in range(8)], [*honest, *liars])
    assert len(set(numbers[:4])) == 4
    assert len(set(numbers[4:])) == 1
    assert rho[numbers[4]] > 0.35


def test_a_merkle_root_depends_on_every_leaf_and_their_order() -> None:
    leaves = [bytes([n]) * 32 for n in range(7)]
    roots = {merkle_root(leaves[:n]) for n in range(8)} | {merkle_root(leaves[::-1])}
    assert len(roots) == 9
