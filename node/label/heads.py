"""The learners of a project: each sees the pile in its own way and votes probabilities over the labels.

What a head is, its genome says (`protocol/heads.py`); `Workshop` builds heads from genomes over one pile. A head is fitted on the
corrections so far and on the pile itself, without labels. It votes on the rows of the pile (`pile`) and on new rows (`new`). Heads go
on from their last fit: a correction costs milliseconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from node.label import graph, views
from node.label.graph import Graph
from node.label.views import Matrix, Viewer, Views
from protocol.heads import HeadGenome, head_id, show_head

Indices = NDArray[np.int64]
FLOOR = 1e-5
AT_ONCE = 4_000_000
"""Scores spread at once while rows are held back: bounds the memory with many labels."""


Look = Callable[[Views], Matrix]
"""What a head sees of rows."""


def founders() -> tuple[HeadGenome, ...]:
    """The heads that a project begins with, from the constants of this version; afterwards their genomes are the project's own."""
    common = (0, views.NGRAM_WEIGHT, 0, 1.0, LogisticHead.L2, graph.NEIGHBOURS, float(graph.SHARPNESS), graph.ALPHA)
    return (
        HeadGenome("spread", "joint", *common),
        HeadGenome("spread", "meaning", *common),
        HeadGenome("logistic", "joint", *common),
        HeadGenome("logistic", "meaning", *common),
    )


class Head(ABC):
    """One learner. Shapes: `rows` (n,), `targets` (n, labels) one-hot; votes (rows, labels), each row sums to 1."""

    def __init__(self, genome: HeadGenome, look: Look) -> None:
        self.genome = genome
        self.id = head_id(genome)
        self.name = f"{genome.kind} {genome.view}" + f" {show_head(self.id)}" * (genome.generation > 0)
        self.look = look

    @abstractmethod
    def fit(self, rows: Indices, targets: Matrix) -> None:
        """Learn the labels of these rows of the pile."""

    @abstractmethod
    def pile(self) -> Matrix:
        """Votes on every row of the pile."""

    def some(self, rows: Indices) -> Matrix:
        """Votes on these rows of the pile."""
        return self.pile()[rows]

    @abstractmethod
    def new(self, views: Views) -> Matrix:
        """Votes on rows that are not in the pile."""

    @abstractmethod
    def held_back(self, rows: Indices, targets: Matrix, folds: Indices) -> Matrix:
        """Votes on these rows of the pile, each by a head that learnt only the rows of other folds; shape of `targets`.

        `folds`: each row's fold, from 0 on. What the head itself has learnt stays.
        """


class LogisticHead(Head):
    """Multinomial logistic regression by accelerated gradient steps (Nesterov 1983)."""

    L2 = 3e-4
    STEPS, MORE_STEPS = 150, 50

    def __init__(self, genome: HeadGenome, look: Look, pile: Matrix) -> None:
        super().__init__(genome, look)
        self._pile = pile
        self._weights: Matrix | None = None

    def fit(self, rows: Indices, targets: Matrix) -> None:
        span, inputs = self._span(rows)
        weights, steps = np.zeros((1, inputs.shape[1], targets.shape[1]), np.float32), self.STEPS
        if self._weights is not None and self._weights.shape[1] == targets.shape[1]:
            weights, steps = np.vstack([span.T @ self._weights[:-1], self._weights[-1:]])[None], self.MORE_STEPS
        found = self._descend(inputs, targets, np.full((1, len(rows), 1), 1 / len(rows), np.float32), weights, steps)[0]
        self._weights = np.vstack([span @ found[:-1], found[-1:]])

    def held_back(self, rows: Indices, targets: Matrix, folds: Indices) -> Matrix:
        inputs = self._span(rows)[1]
        learns = (folds[None, :] != np.arange(folds.max() + 1)[:, None]).astype(np.float32)[:, :, None]
        weights = np.zeros((len(learns), inputs.shape[1], targets.shape[1]), np.float32)
        found = self._descend(inputs, targets, learns / np.maximum(learns.sum(1, keepdims=True), 1), weights, self.STEPS)
        return softmax((inputs @ found)[folds, np.arange(len(rows))])

    def _span(self, rows: Indices) -> tuple[Matrix, Matrix]:
        """An orthonormal base of the rows, and the rows in it, with a bias. The best weights lie in that span, and it has fewer
        dimensions than the view."""
        base, spanned = np.linalg.qr(self._pile[rows].T)
        return base, with_bias(np.ascontiguousarray(spanned.T))

    def _descend(self, inputs: Matrix, targets: Matrix, counts: Matrix, weights: Matrix, steps: int) -> Matrix:
        """Several problems on the same inputs at once: how much each row counts, shape (problems, rows, 1), and the weights so far, shape
        (problems, dimensions, labels)."""
        step = np.float32(1 / (0.5 * float((inputs**2).sum(1).mean()) + self.genome.l2))
        shrink = np.full((inputs.shape[1], 1), self.genome.l2, np.float32)
        shrink[-1] = 0
        ahead, momentum = weights, 1.0
        for _ in range(steps):
            slope: Matrix = inputs.T @ (counts * (softmax(inputs @ ahead) - targets)) + shrink * ahead
            moved = np.asarray(ahead - step * slope, np.float32)
            faster = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = np.asarray(moved + np.float32((momentum - 1) / faster) * (moved - weights), np.float32)
            weights, momentum = moved, faster
        return weights

    def inputs(self, rows: Indices | None = None) -> Matrix:
        """What the head sees of the pile, or of some of its rows."""
        return self._pile if rows is None else self._pile[rows]

    def pile(self) -> Matrix:
        return self._vote(self._pile)

    def some(self, rows: Indices) -> Matrix:
        return self._vote(self._pile[rows])

    def new(self, views: Views) -> Matrix:
        return self._vote(self.look(views))

    def _vote(self, inputs: Matrix) -> Matrix:
        assert self._weights is not None
        return softmax(inputs @ self._weights[:-1] + self._weights[-1])


class GraphHead(Head):
    """Label spreading over the graph of the whole pile: rows near a corrected one follow it."""

    ROUNDS, MORE_ROUNDS = 30, 6

    def __init__(self, genome: HeadGenome, look: Look, nearest: Graph, size: int) -> None:
        super().__init__(genome, look)
        self._graph = nearest
        self._size = size
        self._scores: Matrix | None = None
        self._shares: Matrix | None = None

    def fit(self, rows: Indices, targets: Matrix) -> None:
        seeds = np.zeros((self._size, targets.shape[1]), np.float32)
        seeds[rows] = targets
        known = self._scores if self._scores is not None and self._scores.shape == seeds.shape else None
        self._scores = self._graph.spread(seeds, known, self.ROUNDS if known is None else self.MORE_ROUNDS)
        self._shares = self._graph.shares(self._scores, len(rows))

    def held_back(self, rows: Indices, targets: Matrix, folds: Indices) -> Matrix:
        votes = np.zeros_like(targets)
        count = int(folds.max()) + 1
        at_once = min(count, max(1, AT_ONCE // (self._size * targets.shape[1])))
        for start in range(0, count, at_once):
            some = np.arange(start, start + at_once)
            seeds = np.zeros((self._size, at_once, targets.shape[1]), np.float32)
            for at, fold in enumerate(some):
                seeds[rows[folds != fold], at] = targets[folds != fold]
            spread = self._graph.spread(seeds.reshape(self._size, -1), None, self.ROUNDS)
            out = np.isin(folds, some)
            votes[out] = self._graph.shares(spread.reshape(seeds.shape), len(rows))[rows[out], folds[out] - start]
        return votes

    def pile(self) -> Matrix:
        assert self._shares is not None
        return self._shares

    def new(self, views: Views) -> Matrix:
        return self._graph.lend(self.pile(), self.look(views))


class Workshop:
    """Builds heads over one pile. What founders share is built once; a child with a hashing of its own has a view, and a graph, of its own:
    seconds and up to 7 KB a row at 10,000 rows."""

    def __init__(self, texts: Sequence[str], pile: Views) -> None:
        self._texts = texts
        self._pile = pile
        self._graphs: dict[str, Graph] = {}

    def graph(self, view: str) -> Graph:
        """Of a shared view, with the constants of this version."""
        if view not in self._graphs:
            self._graphs[view] = Graph(self._pile.joint if view == "joint" else self._pile.meaning)
        return self._graphs[view]

    def build(self, genome: HeadGenome) -> Head:
        look = self._look(genome)
        if genome.kind == "logistic":
            return LogisticHead(genome, look, look(self._pile))
        shared = genome.view == "meaning" or self._shares_hashing(genome)
        same = (genome.neighbours, genome.sharpness, genome.alpha) == (graph.NEIGHBOURS, graph.SHARPNESS, graph.ALPHA)
        shape = (genome.neighbours, genome.sharpness, genome.alpha)
        nearest = self.graph(genome.view) if shared and same else Graph(look(self._pile), *shape)
        return GraphHead(genome, look, nearest, len(self._texts))

    def _look(self, genome: HeadGenome) -> Look:
        look: Look = _meaning if genome.view == "meaning" else _joint
        if genome.view == "joint" and not self._shares_hashing(genome):
            look = _through(Viewer(self._texts, genome.seed, genome.grams))
        if genome.kind == "logistic" and genome.features:
            look = _random_features(genome, look, look(self._pile).shape[1])
        return look

    @staticmethod
    def _shares_hashing(genome: HeadGenome) -> bool:
        return genome.seed == 0 and genome.grams == views.NGRAM_WEIGHT


def _meaning(rows: Views) -> Matrix:
    return rows.meaning


def _joint(rows: Views) -> Matrix:
    return rows.joint


def _through(viewer: Viewer) -> Look:
    return lambda rows: viewer.see(rows.texts, rows.meaning).joint


def _random_features(genome: HeadGenome, look: Look, width: int) -> Look:
    """Cosines of random projections, whose products are about a Gaussian kernel's (Rahimi and Recht 2007); rows of length about 1."""
    rng = np.random.default_rng(genome.seed)
    directions = (genome.width * rng.standard_normal((width, genome.features))).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, genome.features).astype(np.float32)
    scale = np.float32((2 / genome.features) ** 0.5)
    return lambda rows: np.asarray(scale * np.cos(look(rows) @ directions + phases), np.float32)


def with_bias(rows: Matrix) -> Matrix:
    return np.hstack([rows, np.ones((len(rows), 1), np.float32)])


def softmax(scores: Matrix) -> Matrix:
    """Over the last axis."""
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True), np.float32)


def logs(votes: Matrix) -> Matrix:
    return np.asarray(np.log(np.maximum(votes, FLOOR)), np.float32)
