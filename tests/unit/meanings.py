"""An embedder that stands in for MiniLM: texts that begin with the same word mean the same; every machine rounds in its own way."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from node.brains.embedder import DIM, Embedder
from node.brains.embedders import MAKERS, Embedders, Pinned
from node.runtime import Runtime
from protocol.pins import MINILM

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROUNDING = 1e-3
"""Relative noise of a machine."""


class Meanings(Embedder):
    name = MINILM

    def __init__(self, machine: str = "", gate: threading.Event | None = None) -> None:
        """With a `gate`, embedding waits for it."""
        self._machine = machine
        self._gate = gate
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        if self._gate is not None:
            self._gate.wait()
        self.embedded += texts
        vectors = [_unit(re.findall(r"\w+", text)[0]) + ROUNDING * _unit(f"{self._machine} {text}") for text in texts]
        return np.asarray([vector / np.linalg.norm(vector) for vector in vectors], np.float32)


def pinned(runtime: Runtime, embedder: Embedder | None) -> Pinned:
    """MiniLM pinned, on a node that has it, or not."""
    makers = {name: make for name, make in MAKERS.items() if name != MINILM}
    return Pinned(runtime, Embedders({**makers, MINILM: lambda: embedder} if embedder is not None else makers), MINILM)


def _unit(text: str) -> NDArray[np.float64]:
    import numpy as np

    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    made = np.random.default_rng(seed).standard_normal(DIM)
    return np.asarray(made / np.linalg.norm(made), np.float64)
