"""Embeddings as they travel and lie on disk (float16, see `crew.pack`), read back with care: they may come from a peer."""

from __future__ import annotations

import numpy as np

from node.brains.embedder import DIM
from node.label.views import Matrix
from protocol.errors import Malformed


def unpack(data: bytes, count: int) -> Matrix:
    """Shape (count, dimensions), finite, rows no longer than 1. Raises `Malformed`."""
    if len(data) != count * DIM * 2:
        raise Malformed(f"{len(data)} bytes are not {count} vectors of {DIM} numbers")
    vectors = np.frombuffer(data, "<f2").reshape(count, DIM).astype(np.float32)
    if not np.isfinite(vectors).all() or (np.abs(vectors) > 1.01).any():
        raise Malformed("vectors must be finite and no longer than 1")
    return vectors
