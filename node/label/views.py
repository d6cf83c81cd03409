"""From texts and their embeddings to what the learners look at.

A `View` is fitted on a pile (no label is looked at): inverse document frequencies of hashed words, word pairs and character
n-grams, and the 256 strongest directions of that space (latent semantic analysis, Deerwester et al. 1990). New rows pass through
the same view.

    meaning   the shared embedding, 384 dimensions
    joint     the embedding beside 0.8 times the n-gram directions: typos, names and numbers that the embedding blurs
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.float32]

BUCKETS = 2_048  # = 2 ** (32 - 21), see `_count`
DIRECTIONS = 256
NGRAM_WEIGHT = 0.8
FIT_ROWS = 4_000
"""Rows that the directions are fitted on, evenly spaced: more change them little and cost seconds."""
MAX_CHARACTERS = 1_024
"""What of a text the n-grams see; the embedding reads further."""


@dataclass(frozen=True, slots=True)
class Views:
    """The same rows, seen twice; each shape (rows, dimensions), rows of length 1."""

    meaning: Matrix
    joint: Matrix
    texts: Sequence[str] = ()
    """For heads with an n-gram hashing of their own."""


class Viewer:
    """Fitted on a pile; turns rows into views. `seed`: of its n-gram hashing; `grams`: weight of the n-grams in the joint view."""

    def __init__(self, texts: Sequence[str], seed: int = 0, grams: float | None = None) -> None:
        self._seed = seed
        self._grams = np.float32(NGRAM_WEIGHT if grams is None else grams)
        step = max(1, len(texts) // FIT_ROWS)
        counts = _count(texts[::step][:FIT_ROWS], seed)
        self._idf = (np.log((1 + len(counts)) / (1 + (counts > 0).sum(0))) + 1).astype(np.float32)
        weighted = self._weigh(counts)
        self._mean: Matrix = weighted.mean(0)
        self._basis = _directions(weighted - self._mean, DIRECTIONS, seed)

    def see(self, texts: Sequence[str], embeddings: Matrix) -> Views:
        """Views of rows, these or new ones."""
        grams = _unit((self._weigh(_count(texts, self._seed)) - self._mean) @ self._basis)
        meaning = _unit(embeddings.astype(np.float32))
        return Views(meaning, _unit(np.hstack([meaning, self._grams * grams])), texts)

    def _weigh(self, counts: Matrix) -> Matrix:
        return _unit(np.asarray(np.log1p(counts) * self._idf, np.float32))


def _count(texts: Sequence[str], seed: int) -> Matrix:
    """Hashed counts, shape (texts, BUCKETS); multiplying by an odd number makes other features meet in a bucket (Dietzfelbinger et al.
    1997)."""
    factor = 2 * seed + 1
    out = np.zeros((len(texts), BUCKETS), np.float32)
    for row, text in enumerate(texts):
        codes = [zlib.crc32(feature.encode()) for feature in _features(text[:MAX_CHARACTERS].lower())]
        buckets = [(code * factor % 2**32) >> 21 if seed else code % BUCKETS for code in codes]
        if buckets:
            out[row] = np.bincount(buckets, minlength=BUCKETS)
    return out


def _features(text: str) -> list[str]:
    words = re.findall(r"\w+", text)
    padded = f" {' '.join(words)} "
    grams = [padded[at : at + size] for size in (3, 4, 5) for at in range(len(padded) - size + 1)]
    pairs = [f"b{first} {second}" for first, second in itertools.pairwise(words)]
    return [f"w{word}" for word in words] + pairs + grams


def _directions(rows: Matrix, count: int, seed: int) -> Matrix:
    """The strongest right singular vectors, shape (columns, at most `count`); randomised (Halko et al. 2011, algorithm 4.4)."""
    wanted = min(count, *rows.shape)
    probe = np.random.default_rng(seed).standard_normal((rows.shape[1], min(wanted + 16, rows.shape[1]))).astype(np.float32)
    sample = rows @ probe
    for _ in range(2):
        sample = rows @ (rows.T @ np.linalg.qr(sample)[0])
    base = np.linalg.qr(sample)[0]
    right = np.linalg.svd(base.T @ rows, full_matrices=False)[2]
    return np.ascontiguousarray(right[:wanted].T, np.float32)


def _unit(rows: NDArray[np.floating[Any]]) -> Matrix:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), np.float32)
