"""Which heads of a project vote: its founders, and the children that corrections held back show to help.

A child is on trial at the node that bore it until the pool with it is better than the pool without it, at the lower end of the 95%
interval of the gain in log-loss. Then every node with the project's learners builds it from its genome, and lets it vote while its own
held-back corrections show a gain at all. So who votes follows from genomes and corrections, and a child that does not help costs its
bearer some seconds and nobody else anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from node.label.heads import Head, Indices, Workshop, logs, softmax
from node.label.views import Matrix
from protocol.heads import Fitness, HeadGenome, head_id

TEMPERATURES = np.geomspace(0.15, 1.5, 12)
"""Each pool is judged at its best temperature: a child is not credited with mere sharpness."""
LOWER = 1.96

Weigh = Callable[[Sequence[Head], Sequence[float]], Matrix]
"""Weights of heads from their log-losses on corrections held back."""


@dataclass(frozen=True, slots=True)
class Gain:
    """Nats a row that a child brings, and the lower end of the 95% interval."""

    mean: float
    low: float


class Lineup:
    """Heads of one panel. Blocking; `hold_back` may run beside everything else."""

    def __init__(self, workshop: Workshop, genomes: Sequence[HeadGenome]) -> None:
        self._workshop = workshop
        self._founders = [workshop.build(genome) for genome in genomes if genome.generation == 0]
        self._children = {head_id(genome): workshop.build(genome) for genome in genomes if genome.generation > 0}
        """Proposed by the nodes that bore them, in the order of their birth."""
        self.changed = bool(self._children)
        """Whether heads came or went since the last measurement: another is due."""
        self.child: Head | None = None
        """On trial here."""
        self.trial: Gain | None = None
        """What its last trial said."""
        self.fits: dict[bytes, Fitness] = {}

    @property
    def genomes(self) -> list[HeadGenome]:
        """Of all heads here but the one on trial."""
        return [head.genome for head in (*self._founders, *self._children.values())]

    @property
    def founders(self) -> tuple[Head, ...]:
        """They always vote."""
        return tuple(self._founders)

    @property
    def proposed(self) -> list[bytes]:
        """Ids of the children that vote when they help."""
        return list(self._children)

    def build(self, genome: HeadGenome) -> Head:
        """The slow part of `propose` and `try_child`: changes nothing here."""
        return self._workshop.build(genome)

    def try_child(self, child: Head | None) -> None:
        self.child, self.trial = child, None
        self.changed = self.changed or child is not None

    def propose(self, children: Sequence[Head]) -> None:
        """These children and no others, from the next measurement on; they vote if it shows that they help."""
        self._children = {head.id: head for head in children}
        if self.child is not None and self.child.id in self._children:
            self.try_child(None)
        self.changed = True

    def built(self, genome: HeadGenome) -> Head | None:
        """The head of this genome, if it was built."""
        wanted = head_id(genome)
        if self.child is not None and self.child.id == wanted:
            return self.child
        return self._children.get(wanted)

    def hold_back(self, rows: Indices, targets: Matrix, folds: Indices) -> dict[bytes, Matrix]:
        """Votes of every head on corrections that it has not seen, by its id."""
        heads = [*self._founders, *self._children.values(), *([self.child] if self.child is not None else [])]
        return {head.id: head.held_back(rows, targets, folds) for head in heads}

    def take(
        self, votes: Mapping[bytes, Matrix], labels: Indices, even: Matrix, stands_for: Matrix, weigh: Weigh
    ) -> tuple[tuple[Head, ...], list[float]]:
        """Decide who votes, from what was held back; those who do, and their log-losses. `even` is added to every pool (`panel.Held`)."""
        at = np.arange(len(labels))
        self.fits = {
            head: Fitness(
                float(-(stands_for * logs(vote)[at, labels]).sum()), float((stands_for * (vote.argmax(1) == labels)).sum()), len(labels)
            )
            for head, vote in votes.items()
        }
        counts = stands_for * (np.bincount(labels)[labels] > 1)

        def gain(heads: Sequence[Head], child: Head) -> Gain:
            pools = [
                sum((weight * logs(votes[head.id]) for weight, head in zip(self._weights(some, weigh), some, strict=True)), even)
                for some in (heads, [*heads, child])
            ]
            return _gain(np.asarray(pools[0]), np.asarray(pools[1]), labels, counts)

        voting = list(self._founders)
        for child in self._children.values():
            if child.id in votes and gain(voting, child).mean > 0:
                voting.append(child)
        self.changed = False
        if self.child is not None and self.child.id in votes:
            self.trial = gain(voting, self.child)
        return tuple(voting), [self.fits[head.id].loss for head in voting]

    def _weights(self, heads: Sequence[Head], weigh: Weigh) -> Matrix:
        return weigh(heads, [self.fits[head.id].loss for head in heads])


def _gain(without: Matrix, beside: Matrix, labels: Indices, counts: Matrix) -> Gain:
    if not counts.sum() > 0:
        return Gain(0.0, 0.0)
    gains = _losses(without, labels, counts) - _losses(beside, labels, counts)
    mean = float(np.average(gains, weights=counts))
    spread = float(np.average((gains - mean) ** 2, weights=counts))
    worth = float(counts.sum() ** 2 / (counts**2).sum())
    return Gain(mean, mean - LOWER * float(np.sqrt(spread / max(1.0, worth - 1))))


def _losses(scores: Matrix, labels: Indices, counts: Matrix) -> Matrix:
    """Log-loss of each correction at the pool's best temperature."""
    at = np.arange(len(labels))
    tried = [-logs(softmax(scores / np.float32(value)))[at, labels] for value in TEMPERATURES]
    return min(tried, key=lambda losses: float((counts * losses).sum()))
