"""The heads of a project, pooled: votes, weights, calibration, "none of these", and how good it is likely to be.

Weights and temperature are fitted on corrections held back (5 folds). Corrections are not a fair sample: rows were chosen because
they teach. So each held-back correction counts for the rows of the pile that lie nearest to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from node.label.graph import Graph
from node.label.heads import GraphHead, Head, Indices, LogisticHead, logs, softmax
from node.label.views import Matrix, Viewer, Views

FOLDS = 8
FIRST_HELD_BACK = 16
"""Corrections before weights and temperature are measured; until then all heads weigh the same."""
MEASURE_EVERY = 8
USUAL_TEMPERATURE, BELIEF = 0.5, 64
"""A pool of regularised heads is too modest: this temperature counts as much as so many corrections."""
TEMPERATURES = tuple(float(value) for value in np.geomspace(0.35, 1.0, 12))
"""Never above 1: heads without an eighth of few corrections know much less than the heads they stand for."""
TRUST = 1.0
"""How sharply a head that errs on what was held back loses weight."""
Z95 = 1.96


@dataclass(frozen=True, slots=True)
class Verdict:
    """The pooled opinion on rows; shapes (rows, labels) and (rows,)."""

    shares: Matrix
    """Calibrated probabilities."""
    votes: tuple[Matrix, ...]
    """Per head, in the order of `Panel.names`."""
    strangeness: Matrix
    """0 at home in the pile, towards 1 for a row that is like nothing in it: for "none of these"."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Accuracy by corrections held back, with its 95% interval (Wilson, at the effective number of corrections)."""

    accuracy: float
    low: float
    high: float
    corrections: int


class Panel:
    """Made for one pile; learns corrections. Blocking; one thread at a time."""

    def __init__(self, texts: Sequence[str], embeddings: Matrix) -> None:
        self.viewer = Viewer(texts)
        self.views = self.viewer.see(texts, embeddings)
        meaning, joint = Graph(self.views.meaning), Graph(self.views.joint)
        self.graph = joint
        self._heads: list[Head] = [
            GraphHead("spread joint", _joint, joint, len(texts)),
            GraphHead("spread meaning", _meaning, meaning, len(texts)),
            LogisticHead("logistic joint", _joint, self.views.joint),
            LogisticHead("logistic meaning", _meaning, self.views.meaning),
        ]
        self.names = tuple(head.name for head in self._heads)
        self.weights = np.full(len(self._heads), 1 / len(self._heads), np.float32)
        self.temperature = USUAL_TEMPERATURE
        self.estimate: Estimate | None = None
        self._company_here = self._company(self.views)
        self._usual = max(1e-6, float(np.median(self._company_here)))
        self._measured_at = 0
        self._labels = 0

    def learn(self, rows: Indices, labels: Indices, count: int) -> None:
        """All corrections so far: rows of the pile, their labels, and how many labels there are."""
        targets = np.eye(count, dtype=np.float32)[labels]
        for head in self._heads:
            head.fit(rows, targets)
        self._labels = count

    def due(self, corrections: int) -> bool:
        """Whether `measure` would do something."""
        return corrections >= FIRST_HELD_BACK and corrections - self._measured_at >= MEASURE_EVERY

    def measure(self, rows: Indices, labels: Indices, count: int) -> bool:
        """Weights, temperature and estimate anew, when enough corrections came since the last time; about a second of work."""
        due = self.due(len(rows))
        if due:
            self._measured_at = len(rows)
            self._hold_back(rows, labels, np.eye(count, dtype=np.float32)[labels])
        return due

    def judge_pile(self) -> Verdict:
        """Every row of the pile."""
        votes = tuple(head.pile() for head in self._heads)
        return Verdict(self._pool(votes), votes, self._strangeness(self._company_here, votes))

    def judge(self, texts: Sequence[str], embeddings: Matrix) -> Verdict:
        """New rows."""
        views = self.viewer.see(texts, embeddings)
        votes = tuple(head.new(views) for head in self._heads)
        return Verdict(self._pool(votes), votes, self._strangeness(self._company(views), votes))

    def _pool(self, votes: Sequence[Matrix]) -> Matrix:
        """Logarithmic opinion pool (Genest and Zidek 1986), then temperature (Guo et al. 2017)."""
        pooled = sum((weight * logs(vote) for weight, vote in zip(self.weights, votes, strict=True)), np.float32(0.0))
        return softmax(np.asarray(pooled, np.float32) / self.temperature)

    def _company(self, views: Views) -> Matrix:
        """Mean likeness to the nearest rows of the pile, the very nearest left out: for a row of the pile that is itself."""
        likeness = np.sort(self.graph.nearest(views.joint)[1], axis=1)
        return np.asarray(likeness[:, : max(1, likeness.shape[1] - 1)].mean(1), np.float32)

    def _strangeness(self, company: Matrix, votes: Sequence[Matrix]) -> Matrix:
        """How far the nearest rows are compared with what is usual here, and how undecided the heads are."""
        far = 1 - np.clip(company / self._usual, 0, 1)
        doubt = 1 - np.mean(np.array(votes), axis=0).max(1)
        return np.asarray(1 - (1 - far) * (1 - 0.5 * doubt), np.float32)

    def _hold_back(self, rows: Indices, labels: Indices, targets: Matrix) -> None:
        """Votes on corrections by heads that have not seen them, then weights, temperature and the estimate."""
        held = [np.zeros_like(targets) for _ in self._heads]
        for fold in range(FOLDS):
            out = np.arange(len(rows)) % FOLDS == fold
            for votes, head in zip(held, self._heads, strict=True):
                learner = head.fresh()
                learner.fit(rows[~out], targets[~out])
                votes[out] = learner.pile()[rows[out]]
        stands_for = self._stands_for(rows)
        losses = np.array([-(stands_for * logs(votes)[np.arange(len(rows)), labels]).sum() for votes in held])
        trust = np.exp(-TRUST * (losses - losses.min()) * min(1.0, len(rows) / 100))
        self.weights = (trust / trust.sum()).astype(np.float32)
        self.temperature = 1.0
        self.temperature = self._warmth(held, labels, stands_for)
        self.estimate = _estimate(self._pool(held).argmax(1) == labels, stands_for)

    def _warmth(self, held: Sequence[Matrix], labels: Indices, stands_for: Matrix) -> float:
        """The temperature with the least log-loss on what was held back, drawn towards the usual one while there is little."""
        pooled = logs(self._pool(held))
        at = np.arange(len(labels))
        losses = [-(stands_for * logs(softmax(pooled / value))[at, labels]).sum() for value in TEMPERATURES]
        best = TEMPERATURES[int(np.argmin(losses))]
        share = len(labels) / (len(labels) + BELIEF)
        return math.exp(share * math.log(best) + (1 - share) * math.log(USUAL_TEMPERATURE))

    def _stands_for(self, rows: Indices) -> Matrix:
        """The share of the pile that is nearest to each correction, shape (corrections,)."""
        nearest = (self.views.joint @ self.views.joint[rows].T).argmax(1)
        shares = np.bincount(nearest, minlength=len(rows)).astype(np.float32)
        return np.asarray(shares / shares.sum(), np.float32)


def _joint(views: Views) -> Matrix:
    return views.joint


def _meaning(views: Views) -> Matrix:
    return views.meaning


def _estimate(right: np.ndarray, stands_for: Matrix) -> Estimate:
    """Wilson's interval with Kish's effective sample size."""
    share = float((stands_for * right).sum())
    size = 1 / float((stands_for**2).sum())
    centre = (share + Z95**2 / (2 * size)) / (1 + Z95**2 / size)
    half = Z95 / (1 + Z95**2 / size) * math.sqrt(share * (1 - share) / size + Z95**2 / (4 * size**2))
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half), len(right))
