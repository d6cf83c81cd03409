"""Logistic heads learn what the pool thinks of rows that nobody answered, and stay as sure as they may be."""

from __future__ import annotations

import numpy as np
import pytest

from node.label import pupils
from node.label.heads import LogisticHead, softmax
from node.label.panel import Panel
from node.label.pupils import Pupils, milder
from node.label.views import Matrix

ROWS = 120
WIDTH = 384


def arcs() -> tuple[Panel, np.ndarray]:
    """Two arcs beside each other, and which arc each row lies on. The texts say nothing."""
    angle = np.tile(np.linspace(0, 2, ROWS // 2), 2)
    arc = np.repeat([0, 1], ROWS // 2)
    rows = np.zeros((ROWS, WIDTH), np.float32)
    rows[:, 0], rows[:, 1], rows[:, 2] = np.cos(angle), np.sin(angle), np.where(arc == 0, 0.3, -0.3)
    return Panel(["row"] * ROWS, rows), arc


def taught(panel: Panel, arc: np.ndarray) -> None:
    """One answer at each end that lies across from the other: where along the arc a row is tells nothing of its label."""
    answered = np.array([0, ROWS - 1])
    panel.learn(answered, arc[answered], 2)


def test_pupils_follow_the_shape_of_the_pile_where_their_heads_cannot() -> None:
    panel, arc = arcs()
    taught(panel, arc)
    votes = dict(zip(panel.names, panel.judge_pile().votes, strict=True))
    together = float((panel.judge_pile().shares.argmax(1) == arc).mean())
    for head in panel.heads:
        alone, pupil = (float((vote.argmax(1) == arc).mean()) for vote in (head.pile(), votes[head.name]))
        if isinstance(head, LogisticHead):
            assert pupil > alone + 0.1
            assert together > alone + 0.1
        else:
            assert pupil == alone


def test_new_rows_are_judged_by_the_same_pupils() -> None:
    panel, arc = arcs()
    taught(panel, arc)
    some = np.arange(0, ROWS, 7)
    here, new = panel.judge_pile(), panel.judge(["row"] * len(some), panel.views.meaning[some])
    for head, vote, same in zip(panel.heads, new.votes, here.votes, strict=False):
        if isinstance(head, LogisticHead):
            assert np.allclose(vote, same[some], atol=1e-4)
    assert np.allclose(new.votes[-1], here.votes[-1][some], atol=1e-4)


def test_a_pile_that_is_answered_to_the_last_row_has_nothing_more_to_teach() -> None:
    panel, arc = arcs()
    panel.learn(np.arange(ROWS), arc, 2)
    shares = panel.judge_pile().shares
    assert np.isfinite(shares).all()
    assert (shares.argmax(1) == arc).all()


def test_a_label_that_comes_later_makes_pupils_begin_anew() -> None:
    panel, arc = arcs()
    taught(panel, arc)
    answered = np.array([0, 30, ROWS - 1])
    panel.learn(answered, np.array([0, 2, 1]), 3)
    assert panel.judge_pile().shares.shape == (ROWS, 3)
    assert panel.judge_pile().shares[30].argmax() == 2


@pytest.mark.parametrize(("labels", "most"), [(2, pupils.SAMPLE), (500, pupils.ENTRIES // 500), (10 * pupils.ENTRIES, 1)])
def test_with_many_labels_the_sample_is_smaller(labels: int, most: int) -> None:
    sample = Pupils(10_000).sample(np.array([0]), labels)
    assert len(sample) <= most
    assert 0 not in sample
    assert sample.max(initial=0) < 10_000


def test_pupils_that_are_surer_than_the_pool_are_taken_most_of_the_way_back() -> None:
    rng = np.random.default_rng(1)
    scores: Matrix = rng.standard_normal((200, 4)).astype(np.float32)
    pool = softmax(scores)
    assert milder(scores, pool) == pytest.approx(1, abs=0.01)
    assert milder(4 * scores, pool) == pytest.approx(4**pupils.SHARE, rel=0.05)
    assert milder(scores[:0], pool[:0]) == 1
