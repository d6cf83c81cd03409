"""The heads of a project, pooled: votes, weights, calibration, "none of these", and how good it is likely to be.

Weights, temperature, the estimate and the cut-off of "none of these" are measured on corrections held back (up to `FOLDS` folds).
Corrections are not a fair sample: rows were chosen because they teach. So for the weights each held-back correction counts for the
rows of the pile that lie nearest to it, and the estimate goes through the temperature (see `calibration.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from node.label import discriminant
from node.label.calibration import Calibration, Estimate, calibrate, usual
from node.label.discriminant import Discriminant
from node.label.heads import GraphHead, Head, Indices, Workshop, founders, logs, softmax
from node.label.lineup import Lineup
from node.label.pupils import Pupils, milder
from node.label.views import Matrix, Viewer, Views
from protocol.heads import HeadGenome

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
    """In the order of `Panel.names`: per head, of a logistic one its pupil's, and the discriminant's."""
    strangeness: Matrix
    """0 at home in the pile, towards 1 for a row that is like nothing in it: for "none of these"."""
    doubted: Matrix
    """Probabilities by which to ask: those of the pool without the discriminant."""


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
    votes: Mapping[bytes, Matrix]
    """Per head, those that do not vote among them, by id; shape (corrections, labels)."""
    even: Matrix
    """What evens out the answers that the heads had learnt, shape (corrections, labels)."""
    stands_for: Matrix


class Panel:
    """Made for one pile; learns corrections. Blocking; one thread at a time."""

    def __init__(self, texts: Sequence[str], embeddings: Matrix, genomes: Sequence[HeadGenome] = ()) -> None:
        self.viewer = Viewer(texts)
        self.views = self.viewer.see(texts, embeddings)
        workshop = Workshop(texts, self.views)
        self.graph = workshop.graph("joint")
        self.lineup = Lineup(workshop, genomes or founders())
        self.heads = self.lineup.founders
        """Those that vote."""
        self._pupils, self._milder = Pupils(len(texts)), 1.0
        self._discriminant = Discriminant(self.views.joint)
        self._trust = np.ones(len(self.heads), np.float32)
        self._weights = np.full(len(self.heads), 1 / len(self.heads), np.float32)
        self._even: Matrix = np.zeros(1, np.float32)
        self._taught: tuple[Indices, Matrix] | None = None
        self.calibration: Calibration = usual(1, 1)
        self.held_back: HeldBack | None = None
        self._answered: Indices = np.empty(0, np.int64)
        self._company_here = self._company(self.views)
        self._usual = max(1e-6, float(np.median(self._company_here)))
        self._measured_at = 0
        self._stranger = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """Of those that vote."""
        return (*(head.name for head in self.heads), discriminant.NAME)

    @property
    def weights(self) -> Matrix:
        """Of those that vote; they sum to 1."""
        return np.append(self._weights, np.float32(discriminant.WEIGHT)) / np.float32(1 + discriminant.WEIGHT)

    def learn(self, rows: Indices, labels: Indices, count: int) -> None:
        """All corrections so far: rows of the pile, their labels, and how many labels there are."""
        self._answered = rows
        targets = np.eye(count, dtype=np.float32)[labels]
        self._taught = rows, targets
        for head in self.heads:
            head.fit(rows, targets)
        self._weights = _weights(self.heads, self._trust, len(rows), len(np.unique(labels)))
        self._even = _evened(labels, count)
        if self.held_back is None:
            self.calibration = usual(len(rows), len(np.unique(labels)))
        self._teach_on()

    def due(self, corrections: int) -> bool:
        """Whether `measure` would do something."""
        return corrections >= FIRST_HELD_BACK and (corrections - self._measured_at >= MEASURE_EVERY or self.lineup.changed)

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
        even = np.array([_evened(labels[folds != fold], count) for fold in range(FOLDS)], np.float32)[folds]
        return Held(rows, labels, self.lineup.hold_back(rows, targets, folds), even, self._stands_for(rows))

    def take(self, held: Held) -> None:
        """Who votes, weights, temperature and cut-off from what was held back."""
        rows, labels, known = held.rows, held.labels, len(np.unique(held.labels))

        def weigh(heads: Sequence[Head], losses: Sequence[float]) -> Matrix:
            return _weights(heads, _trust(losses, len(rows)), len(rows), known)

        heads, losses = self.lineup.take(held.votes, labels, held.even, held.stands_for, weigh)
        for head in heads:
            if head not in self.heads and self._taught is not None:  # what is known now, which may be more than was held back
                head.fit(*self._taught)
        self._trust = _trust(losses, len(rows))
        self.heads, self._weights = heads, _weights(heads, self._trust, len(rows), known)
        votes = [held.votes[head.id] for head in self.heads]
        self.held_back = HeldBack(rows, labels, self._scores(votes, held.even))
        self.calibration = calibrate(self.held_back.scores, labels, known)
        self._stranger = float(np.quantile(self._strangeness(self._company_here[rows], votes), STRANGER))
        self._measured_at = len(rows)
        self._teach_on()

    def estimate(self) -> Estimate | None:
        """Accuracy over the pile as it is labelled now, the user's answers with it; None before anything was measured."""
        if self.held_back is None:
            return None
        votes = [*(self._pupils.pile(head, head.pile()) for head in self.heads), self._discriminant.pile()]
        scores = self._together(votes) * np.float32(self.calibration.temperature)
        return self.calibration.estimate(np.delete(scores, self._answered, axis=0), len(self._answered))

    def judge_pile(self) -> Verdict:
        """Every row of the pile."""
        taught = [head.pile() for head in self.heads]
        votes = [self._pupils.pile(head, vote) for head, vote in zip(self.heads, taught, strict=True)]
        return self._verdict([*votes, self._discriminant.pile()], self._strangeness(self._company_here, taught))

    def judge(self, texts: Sequence[str], embeddings: Matrix) -> Verdict:
        """New rows."""
        views = self.viewer.see(texts, embeddings)
        taught = [head.new(views) for head in self.heads]
        votes = [self._pupils.new(head, views, vote) for head, vote in zip(self.heads, taught, strict=True)]
        return self._verdict([*votes, self._discriminant.new(views)], self._strangeness(self._company(views), taught))

    def stranger(self, pile: Matrix) -> float:
        """Strangeness above which a row is none of these; `pile` is that of the pile's rows. Median and median deviation (Hampel 1974)
        hold while less than half of the pile is strange."""
        median = float(np.median(pile))
        away = median + STRANGE_AWAY * 1.4826 * float(np.median(np.abs(pile - median)))
        return max(STRANGE_LEAST, self._stranger, away)

    def _scores(self, votes: Sequence[Matrix], even: Matrix) -> Matrix:
        """Logarithmic opinion pool (Genest and Zidek 1986), evened."""
        pooled = sum((weight * logs(vote) for weight, vote in zip(self._weights, votes, strict=True)), even)
        return np.asarray(pooled, np.float32)

    def _opinion(self, votes: Sequence[Matrix]) -> Matrix:
        """Probabilities from the votes of heads, or of their pupils."""
        return softmax(self._scores(votes, self._even) / np.float32(self.calibration.temperature))

    def _together(self, votes: Sequence[Matrix], milder: float | None = None) -> Matrix:
        """Log-probabilities from the votes of all, in the order of `names`."""
        scores = self._scores(votes[:-1], self._even) / np.float32(self.calibration.temperature)
        joined = scores + np.float32(discriminant.WEIGHT) * logs(votes[-1])
        return np.asarray(joined / np.float32(milder or self._milder), np.float32)

    def _verdict(self, votes: Sequence[Matrix], strangeness: Matrix) -> Verdict:
        return Verdict(softmax(self._together(votes)), tuple(votes), strangeness, self._opinion(votes[:-1]))

    def _teach_on(self) -> None:
        """Pupils learn what is known and what the heads together think of some of the pile, and the discriminant what the pupils think."""
        if self._taught is None:
            return
        rows, targets = self._taught
        sample = self._pupils.sample(rows, targets.shape[1])
        votes = [head.some(sample) for head in self.heads]
        opinion = self._opinion(votes)
        self._pupils.learn(self.heads, rows, targets, sample, opinion)
        votes = [self._pupils.some(head, sample, vote) for head, vote in zip(self.heads, votes, strict=True)]
        seen = self._discriminant.sample(targets.shape[1])
        heard = self._opinion([self._pupils.some(head, seen, head.some(seen)) for head in self.heads])
        _, at, of = np.intersect1d(seen, rows, return_indices=True)
        heard[at] = targets[of]
        self._discriminant.learn(heard, targets.max(0) > 0, float(opinion.max(1).mean()) if len(opinion) else 1.0)
        self._milder = milder(self._together([*votes, self._discriminant.some(sample)], 1.0), opinion)

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


def _trust(losses: Sequence[float], corrections: int) -> Matrix:
    found = np.array(losses)
    return np.asarray(np.exp(-TRUST * (found - found.min()) * min(1.0, corrections / 100)), np.float32)


def _weights(heads: Sequence[Head], trust: Matrix, corrections: int, labels: int) -> Matrix:
    """Heads of a kind share the prior weight of that kind."""
    first, second, most = GRAPH_SHARE
    share = min(most, first + second * labels / corrections)
    graphs = [isinstance(head, GraphHead) for head in heads]
    count = max(1, sum(graphs)), max(1, len(graphs) - sum(graphs))
    prior = np.array([share / count[0] if graph else (1 - share) / count[1] for graph in graphs], np.float32)
    weights = prior * trust
    return np.asarray(weights / weights.sum(), np.float32)
