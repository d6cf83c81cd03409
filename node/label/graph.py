"""The nearest-neighbour graph of a pile, and labels spreading over it (Zhou et al. 2004, "Learning with local and global consistency")."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.label.views import Matrix

NEIGHBOURS = 12
SHARPNESS = 8
"""An edge weighs similarity to this power: near duplicates count, strangers do not."""
ALPHA = 0.9
"""How much of a row's label comes from its neighbours rather than from itself."""
DOUBT = 0.3
"""Answers per label that evenness among the labels counts as, where a row got the usual amount of evidence (a Dirichlet prior): a row
that little has spread to is left in doubt, although all of that little says the same."""
BLOCK = 512
"""Rows compared with all others at once: bounds the memory."""


class Graph:
    """Symmetric, normalised by degree. Needs scipy, which comes with the extra `[embed]`."""

    def __init__(self, rows: Matrix, neighbours: int | None = None, sharpness: float | None = None, alpha: float | None = None) -> None:
        from scipy import sparse

        self._rows = rows
        self._neighbours = NEIGHBOURS if neighbours is None else neighbours
        self._sharpness = SHARPNESS if sharpness is None else sharpness
        self._alpha = ALPHA if alpha is None else alpha
        count = len(rows)
        near, likeness = self.nearest(rows, exclude_self=True)
        starts = np.repeat(np.arange(count), near.shape[1])
        one_way = sparse.csr_matrix((self._weight(likeness).ravel(), (starts, near.ravel())), (count, count))
        edges = one_way.maximum(one_way.T)
        self.density: Matrix = np.asarray(edges.sum(1), np.float32).ravel() + 1e-6
        """How much company each row has, shape (rows,)."""
        scale = sparse.diags(1 / np.sqrt(self.density))
        self._flow: Any = (scale @ edges @ scale).tocsr().astype(np.float32)

    def spread(self, seeds: Matrix, start: Matrix | None, rounds: int) -> Matrix:
        """Scores per row and label from `seeds` (rows, labels), zero where unknown; `start` is a former result to go on from."""
        scores = seeds.copy() if start is None else start
        for _ in range(rounds):
            scores = self._alpha * (self._flow @ scores) + (1 - self._alpha) * seeds
        return scores

    def shares(self, scores: Matrix, answers: int) -> Matrix:
        """Votes from what was spread from so many rows: shape of `scores`, (rows, ..., labels)."""
        crowd = np.sqrt(self.density).reshape(-1, *[1] * (scores.ndim - 1))  # rows in crowded places get more of everything
        level = scores / crowd
        evidence = level.sum(-1, keepdims=True)
        even = np.float32(DOUBT / answers) * np.median(evidence, axis=0) + np.float32(1e-6 / scores.shape[-1])
        return np.asarray((level + even) / (evidence + scores.shape[-1] * even), np.float32)

    def lend(self, shares: Matrix, rows: Matrix) -> Matrix:
        """What new rows inherit from their neighbours in the pile: shape (len(rows), labels)."""
        near, likeness = self.nearest(rows)
        weight = self._weight(likeness) + 1e-9
        return np.asarray((weight[:, :, None] * shares[near]).sum(1) / weight.sum(1)[:, None], np.float32)

    def nearest(self, rows: Matrix, *, exclude_self: bool = False) -> tuple[NDArray[np.int64], Matrix]:
        """Indices and cosines of the nearest rows of the pile, shape (len(rows), neighbours)."""
        count = min(self._neighbours, len(self._rows) - exclude_self)
        near = np.empty((len(rows), count), np.int64)
        likeness = np.empty((len(rows), count), np.float32)
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK] @ self._rows.T
            if exclude_self:
                block[np.arange(len(block)), np.arange(start, start + len(block))] = -2
            found = np.argpartition(-block, min(count, block.shape[1] - 1), axis=1)[:, :count]
            near[start : start + BLOCK] = found
            likeness[start : start + BLOCK] = np.take_along_axis(block, found, 1)
        return near, likeness

    def _weight(self, likeness: Matrix) -> Matrix:
        return np.asarray(np.maximum(likeness, 0) ** self._sharpness, np.float32)
