"""The learners of a project: each sees the pile in its own way and votes probabilities over the labels.

A head is fitted on the corrections so far and on the pile itself, without labels. It votes on the rows of the pile (`pile`) and on
new rows (`new`). Heads go on from their last fit: a correction costs milliseconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from node.label.graph import Graph
from node.label.views import Matrix, Views

Indices = NDArray[np.int64]
FLOOR = 1e-5


class Head(ABC):
    """One learner. Shapes: `rows` (n,), `targets` (n, labels) one-hot; votes (rows, labels), each row sums to 1."""

    def __init__(self, name: str, look: Callable[[Views], Matrix]) -> None:
        self.name = name
        self.look = look

    @abstractmethod
    def fit(self, rows: Indices, targets: Matrix) -> None:
        """Learn the labels of these rows of the pile."""

    @abstractmethod
    def pile(self) -> Matrix:
        """Votes on every row of the pile."""

    @abstractmethod
    def new(self, views: Views) -> Matrix:
        """Votes on rows that are not in the pile."""

    @abstractmethod
    def fresh(self) -> Head:
        """The same head, knowing no labels: for rows held back."""


class LogisticHead(Head):
    """Multinomial logistic regression by accelerated gradient steps (Nesterov 1983)."""

    L2 = 3e-4
    STEPS, MORE_STEPS = 150, 50

    def __init__(self, name: str, look: Callable[[Views], Matrix], pile: Matrix) -> None:
        super().__init__(name, look)
        self._pile = pile
        self._weights: Matrix | None = None

    def fit(self, rows: Indices, targets: Matrix) -> None:
        """In the span of the corrections: the best weights lie there, and it has fewer dimensions than the view."""
        span, spanned = np.linalg.qr(self._pile[rows].T)
        inputs = with_bias(np.ascontiguousarray(spanned.T))
        weights, steps = np.zeros((inputs.shape[1], targets.shape[1]), np.float32), self.STEPS
        if self._weights is not None and self._weights.shape[1] == targets.shape[1]:
            weights, steps = np.vstack([span.T @ self._weights[:-1], self._weights[-1:]]), self.MORE_STEPS
        step = 1 / (0.5 * float((inputs**2).sum(1).mean()) + self.L2)
        ahead, momentum = weights, 1.0
        for _ in range(steps):
            slope = inputs.T @ (softmax(inputs @ ahead) - targets) / len(rows)
            slope[:-1] += self.L2 * ahead[:-1]
            moved = ahead - step * slope
            faster = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = np.asarray(moved + ((momentum - 1) / faster) * (moved - weights), np.float32)
            weights, momentum = np.asarray(moved, np.float32), faster
        self._weights = np.vstack([span @ weights[:-1], weights[-1:]])

    def pile(self) -> Matrix:
        return self._vote(self._pile)

    def new(self, views: Views) -> Matrix:
        return self._vote(self.look(views))

    def fresh(self) -> Head:
        return LogisticHead(self.name, self.look, self._pile)

    def _vote(self, inputs: Matrix) -> Matrix:
        assert self._weights is not None
        return softmax(inputs @ self._weights[:-1] + self._weights[-1])


class GraphHead(Head):
    """Label spreading over the graph of the whole pile: rows near a corrected one follow it."""

    ROUNDS, MORE_ROUNDS = 30, 6

    def __init__(self, name: str, look: Callable[[Views], Matrix], graph: Graph, size: int) -> None:
        super().__init__(name, look)
        self._graph = graph
        self._size = size
        self._scores: Matrix | None = None
        self._shares: Matrix | None = None

    def fit(self, rows: Indices, targets: Matrix) -> None:
        seeds = np.zeros((self._size, targets.shape[1]), np.float32)
        seeds[rows] = targets
        known = self._scores if self._scores is not None and self._scores.shape == seeds.shape else None
        self._scores = self._graph.spread(seeds, known, self.ROUNDS if known is None else self.MORE_ROUNDS)
        level = self._graph.level(self._scores) + 1e-6 / targets.shape[1]
        self._shares = level / level.sum(1, keepdims=True)

    def pile(self) -> Matrix:
        assert self._shares is not None
        return self._shares

    def new(self, views: Views) -> Matrix:
        return self._graph.lend(self.pile(), self.look(views))

    def fresh(self) -> Head:
        return GraphHead(self.name, self.look, self._graph, self._size)


def with_bias(rows: Matrix) -> Matrix:
    return np.hstack([rows, np.ones((len(rows), 1), np.float32)])


def softmax(scores: Matrix) -> Matrix:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def logs(votes: Matrix) -> Matrix:
    return np.asarray(np.log(np.maximum(votes, FLOOR)), np.float32)
