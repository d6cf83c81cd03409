"""What the pool thinks of rows that nobody answered is a lesson too.

A logistic head learns from some tens of answers, and leaves all other rows of the pile unused. A pupil is the same head taught on: by
the answers as before, and by the pool's opinion of a sample of the pile, probabilities and all (self-training with soft labels of an
ensemble: Lee 2013, "Pseudo-label"; Hinton et al. 2015, "Distilling the knowledge in a neural network"). The label spreading in the pool
knows the shape of the pile, and the pupil carries it to where features decide. Pupils vote in place of their heads; what is held
back, weighed and measured stays the heads'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from node.label.calibration import divisor
from node.label.heads import Head, Indices, LogisticHead, softmax, with_bias
from node.label.views import Matrix, Views

SAMPLE = 512
"""Rows of the pile that pupils learn the pool's opinion of, evenly spaced."""
ENTRIES = 16_384
"""Rows times labels of such a sample at most: with many labels it is smaller, so that an answer stays cheap."""
OPINION = 0.3
"""What the sample weighs, all of it together beside all answers."""
L2 = 1e-4
STEPS, MORE_STEPS = 30, 20
BOUND = 0.5
"""No softmax curves more (Böhning 1992)."""
FACTORS = np.geomspace(0.5, 4.0, 25)
SHARE = 0.8
"""Of the factor, in logs, that would leave the pool as sure as it was before it had pupils."""


class Pupils:
    """Of one panel; they go on from their last lesson. Blocking; one thread at a time."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._weights: dict[bytes, Matrix] = {}

    def sample(self, answered: Indices, labels: int) -> Indices:
        """Rows of the pile that the pool's opinion is wanted of."""
        count = max(1, min(SAMPLE, ENTRIES // labels, self._rows))
        return np.setdiff1d(np.linspace(0, self._rows - 1, count).astype(np.int64), answered)

    def learn(self, heads: Sequence[Head], rows: Indices, targets: Matrix, sample: Indices, opinion: Matrix) -> None:
        """Answers with their one-hot targets, shape (rows, labels), and the pool's probabilities of the sample, shape (sample, labels)."""
        lessons, wanted = np.concatenate([rows, sample]), np.vstack([targets, opinion])
        counts = np.concatenate([np.full(len(rows), 1 / len(rows)), np.full(len(sample), OPINION / max(1, len(sample)))])
        counts = np.asarray(counts / counts.sum(), np.float32)[:, None]
        taught: dict[bytes, Matrix] = {}
        for head in heads:
            if isinstance(head, LogisticHead):
                inputs = with_bias(head.inputs(lessons))
                before, steps = self._weights.get(head.id), MORE_STEPS
                if before is None or before.shape[1] != targets.shape[1]:
                    before, steps = np.zeros((inputs.shape[1], targets.shape[1]), np.float32), STEPS
                taught[head.id] = _climb(inputs, wanted, counts, before, steps)
        self._weights = taught

    def pile(self, head: Head, vote: Matrix) -> Matrix:
        """In place of the vote of `head` on every row of the pile."""
        return self._vote(head, vote, lambda pupil: pupil.inputs())

    def some(self, head: Head, rows: Indices, vote: Matrix) -> Matrix:
        """The same on these rows."""
        return self._vote(head, vote, lambda pupil: pupil.inputs(rows))

    def new(self, head: Head, views: Views, vote: Matrix) -> Matrix:
        """The same on rows that are not in the pile."""
        return self._vote(head, vote, lambda pupil: pupil.look(views))

    def _vote(self, head: Head, vote: Matrix, inputs: Callable[[LogisticHead], Matrix]) -> Matrix:
        weights = self._weights.get(head.id)
        if weights is None or not isinstance(head, LogisticHead):
            return vote
        return softmax(inputs(head) @ weights[:-1] + weights[-1])


def milder(scores: Matrix, opinion: Matrix) -> float:
    """By how much to divide the log-probabilities that all reach on the sample together, at the pool's temperature.

    Having heard the pool they and the discriminant agree with it and with one another, and are surer. The full factor leaves the mean
    confidence as it was, and would be too modest: they are right more often, too. `SHARE` of it left the least bias on development sets.
    """
    if len(scores) == 0:
        return 1.0
    return math.exp(SHARE * math.log(divisor(scores, float(opinion.max(1).mean()), FACTORS)))


def _climb(inputs: Matrix, targets: Matrix, counts: Matrix, weights: Matrix, steps: int) -> Matrix:
    """Logistic regression from `weights` on, shape (dimensions, labels): each step is measured by a bound of the curvature that holds
    everywhere (Böhning 1992), and accelerated (Nesterov 1983). A tenth of the plain steps do, for answers are few and the rows alike."""
    from scipy.linalg import cho_factor, cho_solve

    shrink = np.full((inputs.shape[1], 1), L2, np.float32)
    shrink[-1] = 0
    curvature = BOUND * (inputs.T @ (counts * inputs))
    curvature[np.diag_indices_from(curvature)] += shrink[:, 0] + np.float32(1e-6)
    factor = cho_factor(curvature, overwrite_a=True)
    ahead, momentum = weights, 1.0
    for _ in range(steps):
        slope: Matrix = inputs.T @ (counts * (softmax(inputs @ ahead) - targets)) + shrink * ahead
        moved = ahead - cho_solve(factor, slope)
        faster = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = np.asarray(moved + np.float32((momentum - 1) / faster) * (moved - weights), np.float32)
        weights, momentum = moved, faster
    return weights
