"""The discriminant learns the shape of the labels from the pool's opinion of the pile."""

from __future__ import annotations

import numpy as np
import pytest

from node.label import discriminant
from node.label.discriminant import Discriminant
from node.label.heads import softmax
from node.label.panel import Panel
from node.label.views import Matrix, Views

WIDTH = 24
ALL = np.ones(3, bool)


def clouds(count: int, seed: int) -> tuple[Matrix, np.ndarray]:
    """Three labels, long in four directions that say nothing of the label; rows and labels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, count)
    rows = 0.3 * rng.standard_normal((count, WIDTH))
    rows[:, :4] *= 12
    rows[:, 4:7] += np.eye(3)[label]
    return rows.astype(np.float32), label


def blurred(label: np.ndarray, seed: int, right: float = 0.65) -> Matrix:
    """An opinion whose best label is right so often."""
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(label)) < right, label, (label + rng.integers(1, 3, len(label))) % 3)
    return softmax(1.5 * np.eye(3, dtype=np.float32)[said])


@pytest.mark.parametrize("seed", range(4))
def test_it_is_right_more_often_than_the_pool_that_taught_it(seed: int) -> None:
    rows, label = clouds(900, seed)
    opinion = blurred(label, seed)
    learner = Discriminant(rows)
    sample = learner.sample(3)
    learner.learn(opinion[sample], ALL, 0.8)
    assert (opinion.argmax(1) == label).mean() < 0.7
    assert (learner.pile().argmax(1) == label).mean() > 0.9
    fresh, theirs = clouds(300, seed + 100)
    assert (learner.new(Views(fresh, fresh)).argmax(1) == theirs).mean() > 0.9
    assert np.allclose(learner.some(sample[:7]), learner.pile()[sample[:7]], atol=1e-5)


@pytest.mark.parametrize("sure", [0.5, 0.7, 0.9, 0.99])
def test_it_is_as_sure_as_it_is_told_to_be(sure: float) -> None:
    rows, label = clouds(900, 1)
    learner = Discriminant(rows)
    learner.learn(blurred(label, 1)[learner.sample(3)], ALL, sure)
    assert learner.pile().max(1).mean() == pytest.approx(sure, abs=0.02)


def test_a_label_that_nobody_answered_with_gets_no_vote() -> None:
    rows, label = clouds(600, 2)
    learner = Discriminant(rows)
    opinion = np.hstack([0.9 * blurred(label, 2), np.full((600, 1), 0.1, np.float32)])
    learner.learn(opinion[learner.sample(4)], np.array([True, True, True, False]), 0.8)
    assert learner.pile()[:, 3].max() == 0
    assert learner.pile()[:, :3].argmax(1).tolist().count(0) > 100


@pytest.mark.parametrize(("rows", "labels", "seen"), [(5_000, 3, discriminant.ROWS), (5_000, 500, discriminant.ENTRIES // 500), (1, 2, 1)])
def test_what_it_looks_at_is_bounded(rows: int, labels: int, seen: int) -> None:
    sample = Discriminant(np.zeros((rows, 4), np.float32)).sample(labels)
    assert len(sample) == seen
    assert sample.max() < rows


@pytest.mark.parametrize("rows", [1, 2, 50])
def test_a_pile_of_one_text_is_no_reason_to_fail(rows: int) -> None:
    learner = Discriminant(np.ones((rows, WIDTH), np.float32))
    learner.sample(2)
    learner.learn(np.full((rows, 2), 0.5, np.float32), np.ones(2, bool), 0.5)
    assert np.isfinite(learner.pile()).all()


def test_it_votes_beside_the_heads_and_its_weight_is_shown() -> None:
    rng = np.random.default_rng(3)
    label = np.arange(90) % 2
    rows = rng.standard_normal((90, 384)).astype(np.float32)
    rows[:, 0] += 12 * label
    panel = Panel(["row"] * 90, rows)
    answered = np.arange(12)
    panel.learn(answered, label[answered], 2)
    verdict = panel.judge_pile()
    assert panel.names[-1] == discriminant.NAME
    assert len(panel.names) == len(panel.weights) == len(verdict.votes) == len(panel.heads) + 1
    assert panel.weights.sum() == pytest.approx(1)
    assert panel.weights[-1] == pytest.approx(discriminant.WEIGHT / (1 + discriminant.WEIGHT))
    assert (verdict.shares.argmax(1) == label).mean() > 0.85
    assert verdict.doubted.shape == verdict.shares.shape
    assert not np.allclose(verdict.doubted, verdict.shares)
