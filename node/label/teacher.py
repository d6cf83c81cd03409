"""Which rows to ask the user about.

First by coverage: one row near the middle of each of `COVERAGE` groups of the pile's embeddings (k-means, Lloyd 1982; k-means++
start; without the n-grams, which group by wording), so that no corner of it is unseen. Then by what an answer teaches: a small
margin between the two best labels, in a place with company (a correction there moves many rows), and unlike the other rows of the
same batch. Company matters less with every answer.
"""

from __future__ import annotations

import numpy as np

from node.label.heads import Indices
from node.label.views import Matrix

COVERAGE = 16
"""Groups; more when more labels are named beforehand."""
BATCH = 8
COMPANY = 0.5
COMPANY_UNTIL = 48
"""Answers up to which company counts in full."""
LIKENESS = 2
ROUNDS = 15
RESTARTS = 3


def cover(rows: Matrix, count: int, seed: int) -> list[int]:
    """The rows nearest to the centres of `count` groups, largest group first."""
    rng = np.random.default_rng(seed)
    tries = [_group(rows, min(count, len(rows)), rng) for _ in range(RESTARTS)]
    centres = min(tries, key=lambda found: found[1])[0]
    likeness = rows @ centres.T
    sizes = np.bincount(likeness.argmax(1), minlength=len(centres))
    order = np.argsort(-sizes, kind="stable")
    squares = (centres**2).sum(1)
    return list(dict.fromkeys(int((squares[group] - 2 * likeness[:, group]).argmin()) for group in order))


def choose(rows: Matrix, shares: Matrix, density: Matrix, known: Indices, count: int) -> list[int]:
    """The next rows to ask about, most instructive first; never one of `known`."""
    ranked = np.sort(shares, axis=1)
    margin = ranked[:, -1] - ranked[:, -2] if shares.shape[1] > 1 else ranked[:, -1]
    company = COMPANY * min(1.0, COMPANY_UNTIL / max(1, len(known))) ** 2
    worth = (1 - margin + 1e-6) * (density / density.mean()) ** company
    worth[known] = -1
    chosen: list[int] = []
    for _ in range(min(count, len(rows) - len(known))):
        best = int(worth.argmax())
        chosen.append(best)
        worth = np.where(worth < 0, worth, worth * (1 - np.clip(rows @ rows[best], 0, 1) ** LIKENESS))
        worth[best] = -1
    return chosen


def _group(rows: Matrix, count: int, rng: np.random.Generator) -> tuple[Matrix, float]:
    """Centres of k-means and the sum of squared distances to them."""
    centres = _spread_start(rows, count, rng)
    for _ in range(ROUNDS):
        nearest = ((centres**2).sum(1) - 2 * rows @ centres.T).argmin(1)
        for group in range(count):
            members = rows[nearest == group]
            if len(members):
                centres[group] = members.mean(0)
    distances = (centres**2).sum(1) - 2 * rows @ centres.T
    return centres, float(distances.min(1).sum())


def _spread_start(rows: Matrix, count: int, rng: np.random.Generator) -> Matrix:
    """k-means++ (Arthur and Vassilvitskii 2007)."""
    centres = [rows[int(rng.integers(len(rows)))]]
    distance = np.full(len(rows), np.inf)
    for _ in range(count - 1):
        distance = np.minimum(distance, np.maximum(((rows - centres[-1]) ** 2).sum(1), 0))
        total = float(distance.sum())
        odds = distance / total if total > 0 else np.full(len(rows), 1 / len(rows))
        centres.append(rows[int(rng.choice(len(rows), p=odds))])
    return np.array(centres, np.float32)
