"""The shape of the labels in the pile: a linear discriminant (Fisher 1936) that learns from the pool instead of from answers.

Every label is taken for a Gaussian cloud, all of one shape. Some tens of answers could not tell that shape, which has thousands of
numbers. The pile can, once the pool has an opinion of its rows: the cloud of a label is what the pool thinks belongs there (one round
of expectation-maximisation with a common covariance: McLachlan and Krishnan 2008, section 2.7). So it knows in which directions rows
of one label differ, which are no reason to part rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node.label.calibration import divisor
from node.label.heads import Indices, softmax
from node.label.views import Matrix, Views

NAME = "discriminant joint"
WEIGHT = 0.6
"""Of its vote beside all heads together, which weigh 1; both as sure as the pool is."""
ROWS = 2_048
"""Rows of the pile that it looks at, evenly spaced."""
ENTRIES = 262_144
"""Rows times labels of such a sample at most."""
SHRINK = 0.1
"""How far the shape is taken for a ball: there may be fewer rows than directions."""
DIVISORS = np.geomspace(0.005, 200.0, 81)
"""By which its scores are divided, so that it is as sure as the pool: errors of the shape add up over hundreds of directions."""
MATCHED = 512
"""Rows of the sample that this is measured on."""


class Discriminant:
    """Of one pile, in the joint view. Blocking; one thread at a time."""

    def __init__(self, pile: Matrix) -> None:
        self._pile = pile
        self._sample = np.empty(0, np.int64)
        self._spread: Matrix = np.empty((0, 0), np.float32)
        self._plane: Matrix = np.empty((0, 0), np.float32)
        self._offset: Matrix = np.empty(0, np.float32)

    def sample(self, labels: int) -> Indices:
        """Rows of the pile that the pool's opinion is wanted of."""
        count = max(1, min(ROWS, ENTRIES // labels, len(self._pile)))
        if count != len(self._sample):
            self._sample = np.linspace(0, len(self._pile) - 1, count).astype(np.int64)
            self._spread = np.atleast_2d(np.cov(self._pile[self._sample].T, bias=True)).astype(np.float32)
        return self._sample

    def learn(self, opinion: Matrix, known: NDArray[np.bool_], sure: float) -> None:
        """The pool's probabilities of the sample, shape (sample, labels); which labels have answers, for no others get a vote; and how sure
        to be in the mean."""
        from scipy.linalg import cho_factor, cho_solve

        rows = self._pile[self._sample]
        shares = opinion.sum(0) / len(opinion)
        centre = rows.mean(0)
        means = (opinion.T @ rows) / np.maximum(opinion.sum(0), 1e-6)[:, None] - centre
        within = (1 - SHRINK) * (self._spread - (means.T * shares) @ means)
        ball = SHRINK * float(np.trace(self._spread)) / len(within) + 1e-6
        within[np.diag_indices_from(within)] += ball
        plane = cho_solve(cho_factor(within, overwrite_a=True), means.T)
        offset = np.where(known, -0.5 * (means * plane.T).sum(1) - centre @ plane, -np.inf)
        scores = rows @ plane + offset
        some = scores[:: max(1, len(scores) // MATCHED)]
        scale = np.float32(divisor(some, sure, DIVISORS))
        self._plane, self._offset = np.asarray(plane / scale, np.float32), np.asarray(offset / scale, np.float32)

    def pile(self) -> Matrix:
        """Votes on every row of the pile, shape (rows, labels)."""
        return self._vote(self._pile)

    def some(self, rows: Indices) -> Matrix:
        """The same on these rows."""
        return self._vote(self._pile[rows])

    def new(self, views: Views) -> Matrix:
        """The same on rows that are not in the pile."""
        return self._vote(views.joint)

    def _vote(self, rows: Matrix) -> Matrix:
        return softmax(rows @ self._plane + self._offset)
