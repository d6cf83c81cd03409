"""Rows that no answer is near stay in doubt, labels are not preferred for being asked about, and intervals hold a perfect pile."""

from __future__ import annotations

import numpy as np
import pytest

from node.label.calibration import calibrate, usual
from node.label.graph import Graph
from node.label.panel import Panel
from node.label.views import Matrix

WIDTH = 16


def clouds(sizes: tuple[int, ...], seed: int = 0, noise: float = 0.25) -> tuple[Matrix, np.ndarray]:
    """Rows of length 1 around as many centres, and which centre each belongs to."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.eye(len(sizes), WIDTH)[group] + noise * rng.standard_normal((len(group), WIDTH))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32), group


def test_a_row_that_little_has_spread_to_is_left_in_doubt_although_all_of_it_says_the_same() -> None:
    rows, group = clouds((40, 40, 40), noise=0.2)
    graph = Graph(rows)
    seeds = np.zeros((len(rows), 2), np.float32)
    for label in (0, 1):  # nobody was asked about the third cloud
        seeds[np.flatnonzero(group == label)[:3], label] = 1
    sure = graph.shares(graph.spread(seeds, None, 30), 6).max(1)
    assert sure[group < 2].min() > sure[group == 2].mean()
    assert np.median(sure[group < 2]) > 0.8
    assert np.median(sure[group == 2]) < 0.6


def test_votes_of_several_problems_at_once_are_those_of_each() -> None:
    rows, _ = clouds((30, 30))
    graph = Graph(rows)
    seeds = np.zeros((len(rows), 2, 2), np.float32)
    seeds[0, 0, 0] = seeds[30, 0, 1] = seeds[5, 1, 0] = seeds[40, 1, 1] = 1
    both = graph.shares(seeds, 2)
    assert both.shape == seeds.shape
    assert np.allclose(both.sum(-1), 1, atol=1e-5)
    for problem in (0, 1):
        assert np.allclose(both[:, problem], graph.shares(seeds[:, problem], 2))


def test_answers_asked_where_rows_are_hard_do_not_make_a_label_likelier_elsewhere() -> None:
    """Two clouds of one size that overlap; ten answers were of the first label, two of the second."""
    rows, group = clouds((60, 60), seed=1, noise=0.6)
    panel = Panel([f"row {number}" for number in range(len(rows))], np.pad(rows, ((0, 0), (0, 368))))
    asked = np.concatenate([np.flatnonzero(group == 0)[:10], np.flatnonzero(group == 1)[:2]])
    panel.learn(asked, group[asked], 2)
    votes = panel.judge_pile()
    plain = np.mean([(vote.argmax(1) == 0).mean() for vote in votes.votes])
    said = (votes.shares.argmax(1) == 0).mean()
    assert 0.5 - 1e-9 <= said <= plain
    assert (votes.shares.argmax(1) == group).mean() >= np.mean([(vote.argmax(1) == group).mean() for vote in votes.votes])


def test_the_interval_of_a_small_pile_that_is_nearly_right_holds_a_perfect_one() -> None:
    scores = np.zeros((300, 4), np.float32)
    scores[:, 0] = 3.0
    found = usual(192, 4).estimate(scores, answered=192)
    assert found.low < found.accuracy < found.high == 1.0
    assert found.accuracy > 0.99


def test_what_the_user_answered_is_right_and_the_rest_is_estimated() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((200, 4)).astype(np.float32)
    calibration = usual(40, 4)
    alone, beside = calibration.estimate(scores), calibration.estimate(scores, answered=200)
    assert beside.accuracy == pytest.approx(0.5 + alone.accuracy / 2)
    assert beside.high - beside.low == pytest.approx((alone.high - alone.low) / 2)
    assert calibration.estimate(np.empty((0, 4), np.float32), answered=3).low == 1.0


def test_the_interval_of_an_estimate_never_leaves_what_is_possible() -> None:
    for value in (0.0, 20.0):
        scores = np.zeros((50, 3), np.float32)
        scores[:, 0] = value
        labels = np.zeros(30, np.int64)
        found = calibrate(scores[:30], labels, 3).estimate(scores)
        assert 0 <= found.low <= found.accuracy <= found.high <= 1
