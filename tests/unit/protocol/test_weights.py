"""What a vote weighs."""

from __future__ import annotations

import random

import pytest

from protocol.weights import (
    HEARSAY_CAP,
    MIN_WEIGHT,
    RATER_CAP,
    Evidence,
    effective,
    groups,
    hearsay,
    merge_raters,
    merkle_root,
    skill,
    weight_alone,
    weights,
)


def test_agents_of_whom_nothing_is_known_weigh_alike() -> None:
    assert len(set(weights([(0, 0, 0), (0, 0, 0), (0, 0, 0)], [0.0], 4))) == 1


def test_only_an_agent_surely_below_chance_weighs_against_its_own_answers() -> None:
    assert weight_alone(0, 200, 4) < -2.0
    assert weight_alone(0, 8, 4) == weight_alone(50, 150, 4) == MIN_WEIGHT
    assert weight_alone(180, 20, 4) > weight_alone(120, 80, 4) > MIN_WEIGHT


def test_a_skill_is_believed_at_its_cautious_end() -> None:
    assert weight_alone(8, 2, 4) < weight_alone(80, 20, 4) < weight_alone(800, 200, 4)


def test_a_distrusted_agent_does_not_make_the_crowd_of_its_group() -> None:
    evidence = [(150.0, 50.0, 0), (0.0, 200.0, 0)]
    assert weights(evidence, [0.5], 4)[0] == weights(evidence[:1], [0.5], 4)[0]


def test_what_others_say_silences_an_agent_and_never_turns_it_against_itself() -> None:
    own, slander = {"t": Evidence(6, 4, 0.0)}, {"t": Evidence(0, 40, 0.0)}
    merged = merge_raters(own, [slander] * 20, "t", 0.0)
    assert weight_alone(merged.good, merged.bad, 4) < 0.0
    heard = hearsay(own["t"], merged, 4)
    assert weight_alone(heard.good, heard.bad, 4) == MIN_WEIGHT
    seen = Evidence(0, 200, 0.0)
    assert weight_alone(seen.good, seen.bad, 4) < 0.0
    assert hearsay(seen, seen, 4) == seen


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


def test_many_raters_together_bring_no_more_than_a_few() -> None:
    merged = merge_raters({"t": Evidence(90, 10, 0.0)}, [{"t": Evidence(0, 900, 0.0)}] * 1_000, "t", 0.0)
    assert merged.bad == pytest.approx(10 + HEARSAY_CAP)


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
