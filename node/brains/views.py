"""What a tiny head sees: a shared bank of random features, of which every agent has its own part.

A question becomes a vector (its embedding, or the shared text embedding beside hashed byte n-grams), of length 1. The bank holds
`size` random cosine features of such vectors at several length scales (random Fourier features, Rahimi and Recht 2007), equal on
every machine. It is computed once a question, whatever the number of agents; an agent's view is a choice of `hidden` features
that its genome names by one number. So agents differ in what they can tell apart, and a thousand views cost little more than one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

SCALES: Final = (2.0, 4.0)
"""Frequencies of the features: how near two unit vectors must be to look alike."""
NGRAM_DIM: Final = 512
MAX_HASHED: Final = 4_096
"""Bytes of a text that are hashed."""
_NGRAMS: Final = (3, 4, 5)


@lru_cache(maxsize=4)
def _bank(dim: int, size: int) -> tuple[Floats, Floats]:
    """Frequencies (dim, size) and phases (size,)."""
    import numpy as np

    rng = np.random.default_rng([dim, size, 1])
    scales = np.resize(np.array(SCALES, np.float32), size)
    return rng.standard_normal((dim, size), np.float32) * scales, (2.0 * math.pi * rng.random(size, np.float32)).astype(np.float32)


def bank_features(inputs: Floats, size: int) -> Floats:
    """Unit vectors (n, dim) -> (n, size), each feature of mean square about 1."""
    import numpy as np

    frequencies, phases = _bank(inputs.shape[1], size)
    return np.asarray(math.sqrt(2.0) * np.cos(inputs @ frequencies + phases), np.float32)


@lru_cache(maxsize=4_096)
def view(number: int, hidden: int, size: int) -> NDArray[np.int64]:
    """Which features of the bank the view of this number holds."""
    import numpy as np

    chosen = np.sort(np.random.default_rng(number).choice(size, hidden, replace=False)).astype(np.int64)
    chosen.flags.writeable = False
    return chosen


def unit(vectors: Floats) -> Floats:
    """Rows of length 1; a zero row stays zero."""
    import numpy as np

    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), np.float32)


def ngrams(texts: Sequence[str]) -> Floats:
    """Hashed byte n-grams with signs (Weinberger et al. 2009), rows of length 1: (n, NGRAM_DIM)."""
    import numpy as np

    out = np.zeros((len(texts), NGRAM_DIM), np.float32)
    for row, text in enumerate(texts):
        raw = np.frombuffer(b"\x02" + text.lower().encode("utf-8", "replace")[:MAX_HASHED] + b"\x03", np.uint8).astype(np.uint64)
        for size in _NGRAMS:
            hashes = np.full(max(0, raw.size - size + 1), size, np.uint64)
            for offset in range(size):
                hashes = hashes * np.uint64(0x100000001B3) + raw[offset : offset + hashes.size]
            mixed = (hashes ^ (hashes >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
            signs = ((mixed >> np.uint64(63)).astype(np.int64) * 2 - 1).astype(np.float32)
            np.add.at(out[row], ((mixed >> np.uint64(40)) % np.uint64(NGRAM_DIM)).astype(np.int64), signs)
    return unit(out)


@lru_cache(maxsize=4_096)
def signature(choice: str, width: int) -> Floats:
    """A choice as a unit vector of signs drawn from its hash: different choices are nearly orthogonal. Equal on every machine."""
    import hashlib

    import numpy as np

    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(choice.strip().encode("utf-8", "replace")).digest(-(-width // 8)), np.uint8))
    vector: Floats = ((bits[:width].astype(np.float32) * 2.0 - 1.0) / math.sqrt(width)).astype(np.float32)
    vector.flags.writeable = False
    return vector


def signatures(choices: Sequence[str], width: int) -> Floats:
    """(choices, width)"""
    import numpy as np

    return np.stack([signature(choice, width) for choice in choices])
