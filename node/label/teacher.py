"""Which rows to ask the user about.

First by coverage: one row near the middle of each of `COVERAGE` groups of the pile's embeddings (k-means, Lloyd 1982, from the groups
of Ward 1963; without the n-grams, which group by wording), so that no corner of it is unseen: a label that nobody met is the dearest
error, for its rows are taken for others with confidence. Then by what an answer teaches: a small margin between the two best labels,
in a place with company (a correction there moves many rows), and unlike the other rows of the same batch. Company matters less with
every answer.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from node.label.heads import Indices
from node.label.views import Matrix

COVERAGE = 24
"""Groups; more when more labels are named beforehand."""
FIRST = 16
"""Of them at least, where the labels are named beforehand; then until each was met (`covered`)."""
DRAWN, DRAWN_EACH, DRAWN_MOST = 800, 4, 2_000
"""Rows drawn for the first grouping: at least so many, so many a group, and no more; its cost grows with their square."""
BATCH = 8
COMPANY = 0.5
COMPANY_UNTIL = 48
"""Answers up to which company counts in full."""
LIKENESS = 2
ROUNDS = 10


def covered(named: Collection[str], told: Collection[str]) -> bool:
    """Whether coverage may end early: `named` are the labels that were known before the first answer, `told` those of the answers. What
    coverage is for is labels that nobody met, and where all are named and met there are none."""
    return bool(named) and len(told) >= FIRST and set(named) <= set(told)


def cover(rows: Matrix, count: int, seed: int) -> list[int]:
    """The rows nearest to the centres of `count` groups, largest group first."""
    centres = _centres(rows, _groups(rows, count, np.random.default_rng(seed)))
    away = (centres**2).sum(1) - 2 * rows @ centres.T
    sizes = np.bincount(away.argmin(1), minlength=len(centres))
    return list(dict.fromkeys(away.argmin(0)[np.argsort(-sizes, kind="stable")].tolist()))


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


def _groups(rows: Matrix, count: int, rng: np.random.Generator) -> Matrix:
    """Centres of groups of some rows, joined pair by pair so that the rows stay near their centres (Ward 1963): `count` at most. Unlike
    centres that are drawn (k-means++) it rarely splits one label in two and leaves another out."""
    from scipy.cluster.hierarchy import fcluster, linkage

    some = rows[rng.permutation(len(rows))[: min(DRAWN_MOST, max(DRAWN, DRAWN_EACH * count))]]
    if len(some) <= count:
        return some
    group = fcluster(linkage(some, "ward"), count, "maxclust")
    return np.array([some[group == number].mean(0) for number in np.unique(group)], np.float32)


def _centres(rows: Matrix, centres: Matrix) -> Matrix:
    """Those of k-means that starts at `centres`."""
    for _ in range(ROUNDS):
        nearest = ((centres**2).sum(1) - 2 * rows @ centres.T).argmin(1)
        for group in range(len(centres)):
            members = rows[nearest == group]
            if len(members):
                centres[group] = members.mean(0)
    return centres
