"""The brains of this node as the cells here use them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from node.agents.host import AgentHost
from node.agents.worker import BrainWorker
from node.brains.base import Ask, Choice, Proposal
from protocol.errors import NotAvailable

WRITE_TOKENS = 256
"""Of one solution in words."""
TEMPERATURE = 0.8


class CellBrains:
    """Finds a ready brain by the beginning of its name, and asks it. All that wait for one share a batch."""

    def __init__(self, host: AgentHost) -> None:
        self._host = host
        self._used: dict[str, BrainWorker] = {}

    async def choose(self, brain: str, asks: Sequence[Ask]) -> list[Choice]:
        """Raises `NotAvailable` when no such brain is ready."""
        worker = self._worker(brain)
        answers: list[Choice] = await worker.submit("cells", worker.brain.choose, asks)
        return answers

    async def write(self, brain: str, asks: Sequence[Ask]) -> list[Proposal]:
        """Raises `NotAvailable` when no such brain is ready, or it does not write."""
        worker = self._worker(brain)
        longest = max(int(ask.genome.settings.get("max_tokens", WRITE_TOKENS)) for ask in asks)
        propose = partial(worker.brain.propose, max_tokens=min(longest, WRITE_TOKENS), temperature=TEMPERATURE)
        texts: list[Proposal] = await worker.submit("cells write", propose, asks)
        return texts

    @property
    def tokens_read(self) -> int:
        """By the brains that cells have used, for whomever."""
        return sum(worker.brain.tokens_read for worker in self._used.values())

    def _worker(self, brain: str) -> BrainWorker:
        ready = [info.name for info in self._host.brain_infos() if info.state == "ready" and info.name.startswith(brain)]
        worker = self._host.worker(min(ready)) if ready else None
        if worker is None:
            raise NotAvailable(f"No brain '{brain}' is ready on this node: `moot status` lists what is, `--brain` of `moot up` adds one.")
        self._used[worker.brain.name] = worker
        return worker
