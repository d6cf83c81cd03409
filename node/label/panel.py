"""The heads of a project, pooled: votes, weights, calibration, "none of these", and how good it is likely to be.

Weights, temperature, the estimate and the cut-off of "none of these" are measured on corrections held back (up to `FOLDS` folds).
Corrections are not a fair sample: rows were chosen because they teach. So for the weights each held-back correction counts for the
rows of the pile that lie nearest to it, and the estimate goes through the temperature (see `calibration.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from node.label.calibration import Calibration, Estimate, calibrate, usual
from node.label.graph import Graph
from node.label.heads import GraphHead, Head, Indices, LogisticHead, logs, softmax
from node.label.views import Matrix, Viewer, Views

FOLDS = 16
FIRST_HELD_BACK = 16
"""Corrections before anything is measured; until then the prior weights and the usual temperature hold."""
MEASURE_EVERY = 8
GRAPH_SHARE = (0.35, 0.5, 0.7)
"""Prior weight of the two graph heads together with `r` answers per label: first + second / r, at most the third. The fewer the
answers, the more of what is known is the shape of the pile."""
TRUST = 1.0
"""How sharply a head that errs on what was held back loses weight."""
EVEN = 0.5
"""How far the learners' habit of preferring labels with more answers is taken back (logit adjustment, Menon et al. 2021): answers are
asked where rows are hard, so how often a label was the answer says little of how often it is in the pile. 1 takes all of it back."""
STRANGER = 0.98
"""A row stranger than this share of the held-back corrections, which surely belong here, may be "none of these"."""
STRANGE_AWAY, STRANGE_LEAST = 3.0, 0.35
"""And it lies so many robust standard deviations above the pile's median, for the first corrections are central rows; and is no less
strange than this, for in a pile of near copies everything else looks strange."""


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
class HeldBack:
    """Votes on corrections by heads that had not seen them."""

    rows: Indices
    labels: Indices
    scores: Matrix
    """Pooled log-probabilities before temperature, shape (corrections, labels)."""


@dataclass(frozen=True, slots=True)
class Held:
    """What was held back, before it is weighed."""

    rows: Indices
    labels: Indices
    votes: tuple[Matrix, ...]
    """Per head, shape (corrections, labels)."""
    even: Matrix
    """What evens out the answers that the heads had learnt, shape (corrections, labels)."""
    stands_for: Matrix
    strangeness: Matrix
    """Of the corrections, shape (corrections,)."""


class Panel:
    """Made for one pile; learns corrections. Blocking; one thread at a time."""

    def __init__(self, texts: Sequence[str], embeddings: Matrix) -> None:
        self.viewer = Viewer(texts)
        self.views = self.viewer.see(texts, embeddings)
        meaning, joint = Graph(self.views.meaning), Graph(self.views.joint)
        self.graph = joint
        self.heads: tuple[Head, ...] = (
            GraphHead("spread joint", _joint, joint, len(texts)),
            GraphHead("spread meaning", _meaning, meaning, len(texts)),
            LogisticHead("logistic joint", _joint, self.views.joint),
            LogisticHead("logistic meaning", _meaning, self.views.meaning),
        )
        self.names = tuple(head.name for head in self.heads)
        self._trust = np.ones(len(self.heads), np.float32)
        self.weights = np.full(len(self.heads), 1 / len(self.heads), np.float32)
        self._even: Matrix = np.zeros(1, np.float32)
        self.calibration: Calibration = usual(1, 1)
        self.held_back: HeldBack | None = None
        self._answered: Indices = np.empty(0, np.int64)
        self._company_here = self._company(self.views)
        self._usual = max(1e-6, float(np.median(self._company_here)))
        self._measured_at = 0
        self._stranger = 0.0

    def learn(self, rows: Indices, labels: Indices, count: int) -> None:
        """All corrections so far: rows of the pile, their labels, and how many labels there are."""
        self._answered = rows
        targets = np.eye(count, dtype=np.float32)[labels]
        for head in self.heads:
            head.fit(rows, targets)
        self.weights = self._weights(len(rows), len(np.unique(labels)))
        self._even = _evened(labels, count)
        if self.held_back is None:
            self.calibration = usual(len(rows), len(np.unique(labels)))

    def due(self, corrections: int) -> bool:
        """Whether `measure` would do something."""
        return corrections >= FIRST_HELD_BACK and corrections - self._measured_at >= MEASURE_EVERY

    def measure(self, rows: Indices, labels: Indices, count: int) -> bool:
        """Weights, temperature and cut-off anew, when enough corrections came since the last time; about a second of work."""
        due = self.due(len(rows))
        if due:
            self.take(self.hold_back(rows, labels, count))
        return due

    def hold_back(self, rows: Indices, labels: Indices, count: int) -> Held:
        """Votes on corrections by heads that have not seen them. Nearly all the work of measuring; it changes nothing here and may run
        beside `learn` and `judge` in another thread: 4 s for 10,000 rows and 192 corrections."""
        folds, targets = np.arange(len(rows)) % FOLDS, np.eye(count, dtype=np.float32)[labels]
        votes = tuple(head.held_back(rows, targets, folds) for head in self.heads)
        even = np.array([_evened(labels[folds != fold], count) for fold in range(FOLDS)], np.float32)[folds]
        return Held(rows, labels, votes, even, self._stands_for(rows), self._strangeness(self._company_here[rows], votes))

    def take(self, held: Held) -> None:
        """Weights, temperature and cut-off from what was held back."""
        rows, labels, at = held.rows, held.labels, np.arange(len(held.rows))
        losses = np.array([-(held.stands_for * logs(votes)[at, labels]).sum() for votes in held.votes])
        self._trust = np.exp(-TRUST * (losses - losses.min()) * min(1.0, len(rows) / 100)).astype(np.float32)
        known = len(np.unique(labels))
        self.weights = self._weights(len(rows), known)
        self.held_back = HeldBack(rows, labels, self._scores(held.votes, held.even))
        self.calibration = calibrate(self.held_back.scores, labels, known)
        self._stranger = float(np.quantile(held.strangeness, STRANGER))
        self._measured_at = len(rows)

    def estimate(self) -> Estimate | None:
        """Accuracy over the pile as it is labelled now, the user's answers with it; None before anything was measured."""
        if self.held_back is None:
            return None
        scores = self._scores([head.pile() for head in self.heads], self._even)
        return self.calibration.estimate(np.delete(scores, self._answered, axis=0), len(self._answered))

    def judge_pile(self) -> Verdict:
        """Every row of the pile."""
        votes = tuple(head.pile() for head in self.heads)
        return Verdict(self._pool(votes), votes, self._strangeness(self._company_here, votes))

    def judge(self, texts: Sequence[str], embeddings: Matrix) -> Verdict:
        """New rows."""
        views = self.viewer.see(texts, embeddings)
        votes = tuple(head.new(views) for head in self.heads)
        return Verdict(self._pool(votes), votes, self._strangeness(self._company(views), votes))

    def stranger(self, pile: Matrix) -> float:
        """Strangeness above which a row is none of these; `pile` is that of the pile's rows. Median and median deviation (Hampel 1974)
        hold while less than half of the pile is strange."""
        median = float(np.median(pile))
        away = median + STRANGE_AWAY * 1.4826 * float(np.median(np.abs(pile - median)))
        return max(STRANGE_LEAST, self._stranger, away)

    def _weights(self, corrections: int, labels: int) -> Matrix:
        first, second, most = GRAPH_SHARE
        share = min(most, first + second * labels / corrections)
        prior = np.array([share if isinstance(head, GraphHead) else 1 - share for head in self.heads], np.float32)
        weights = prior * self._trust
        return np.asarray(weights / weights.sum(), np.float32)

    def _scores(self, votes: Sequence[Matrix], even: Matrix) -> Matrix:
        """Logarithmic opinion pool (Genest and Zidek 1986), evened."""
        pooled = sum((weight * logs(vote) for weight, vote in zip(self.weights, votes, strict=True)), even)
        return np.asarray(pooled, np.float32)

    def _pool(self, votes: Sequence[Matrix]) -> Matrix:
        return softmax(self._scores(votes, self._even) / np.float32(self.calibration.temperature))

    def _company(self, views: Views) -> Matrix:
        """Mean likeness to the nearest rows of the pile, the very nearest left out: for a row of the pile that is itself."""
        likeness = np.sort(self.graph.nearest(views.joint)[1], axis=1)
        return np.asarray(likeness[:, : max(1, likeness.shape[1] - 1)].mean(1), np.float32)

    def _strangeness(self, company: Matrix, votes: Sequence[Matrix]) -> Matrix:
        """How far the nearest rows are compared with what is usual here, and how undecided the heads are."""
        far = 1 - np.clip(company / self._usual, 0, 1)
        doubt = 1 - np.mean(np.array(votes), axis=0).max(1)
        return np.asarray(1 - (1 - far) * (1 - 0.5 * doubt), np.float32)

    def _stands_for(self, rows: Indices) -> Matrix:
        """The share of the pile that is nearest to each correction, shape (corrections,)."""
        nearest = (self.views.joint @ self.views.joint[rows].T).argmax(1)
        shares = np.bincount(nearest, minlength=len(rows)).astype(np.float32)
        return np.asarray(shares / shares.sum(), np.float32)


def _evened(labels: Indices, count: int) -> Matrix:
    """What is added to the pooled log-probability of each label, shape (count,)."""
    return np.asarray(-EVEN * np.log(np.maximum(np.bincount(labels, minlength=count), 1)), np.float32)


def _joint(views: Views) -> Matrix:
    return views.joint


def _meaning(views: Views) -> Matrix:
    return views.meaning
