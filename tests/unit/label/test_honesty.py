"""The panel says how good it is without flattering."""

from __future__ import annotations

import numpy as np
import pytest

from node.label.calibration import calibrate, usual
from node.label.heads import softmax

LABELS = 4
ROWS = 400


def world(sharpness: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of a pool whose best temperature is `sharpness`, and the labels drawn from what it should have said."""
    rng = np.random.default_rng(seed)
    scores = (2 * rng.standard_normal((ROWS, LABELS))).astype(np.float32)
    shares = softmax(np.asarray(scores / sharpness, np.float32))
    return scores, np.array([rng.choice(LABELS, p=share / share.sum()) for share in shares.astype(np.float64)])


def test_a_pool_that_is_too_sure_is_cooled_and_one_too_modest_is_sharpened() -> None:
    corrections = np.arange(150)
    found = {}
    for sharpness in (0.4, 1.5):
        scores, labels = world(sharpness)
        found[sharpness] = calibrate(scores[corrections], labels[corrections], LABELS).temperature
    assert found[0.4] < usual(150, LABELS).temperature < found[1.5]


def test_the_estimate_holds_although_only_the_hardest_rows_were_asked() -> None:
    scores, labels = world(0.5)
    hardest = np.sort(scores, axis=1)[:, -1] - np.sort(scores, axis=1)[:, -2]
    asked = np.argsort(hardest)[:100]
    right = scores.argmax(1) == labels
    found = calibrate(scores[asked], labels[asked], LABELS).estimate(scores)
    assert right[asked].mean() < right.mean() - 0.1
    assert found.low <= right.mean() <= found.high
    assert abs(found.accuracy - right.mean()) < 0.08


def test_the_only_correction_of_a_label_says_nothing_about_the_pool() -> None:
    scores, labels = world(0.5)
    alone = np.array([0, 1, 2, 3])
    one_each = np.array([np.flatnonzero(labels == label)[0] for label in alone])
    assert calibrate(scores[one_each], alone, LABELS).temperature == pytest.approx(usual(4, LABELS).temperature)
