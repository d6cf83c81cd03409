"""What labelling asks of the rest of its node; a desk without it has learners everywhere and no guests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from node.agents.worker import BrainWorker
from node.brains.base import Ask, Choice
from protocol.api.nodes import BrainInfo
from protocol.errors import NotAvailable
from protocol.identity import NodeId, show_id


class Minds(Protocol):
    """Brains that can choose after a few solved examples."""

    def names(self, *, local: bool) -> list[str]:
        """Those that may read a project's texts; `local`: none that sends them to another machine."""
        ...

    async def choose(self, brain: str, asks: Sequence[Ask], *, urgent: bool = False) -> list[Choice]:
        """When nobody else waits for that brain, unless it is `urgent`. Raises `NotAvailable`."""
        ...


class Host(Protocol):
    """What is asked of `node.agents.host.AgentHost`."""

    def worker(self, brain: str) -> BrainWorker | None: ...

    def brain_infos(self) -> list[BrainInfo]: ...


class HostedMinds:
    """The language models of this node, in the background of their workers: a council's question waits for one small call at most."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def names(self, *, local: bool) -> list[str]:
        workers = [worker for info in self._host.brain_infos() if (worker := self._host.worker(info.name)) is not None]
        able = [worker.brain for worker in workers if "choice" in worker.brain.capabilities.kinds]
        return sorted(
            brain.name
            for brain in able
            if brain.capabilities.embedding_dim is None and not (local and brain.outside)
        )  # fmt: skip

    async def choose(self, brain: str, asks: Sequence[Ask], *, urgent: bool = False) -> list[Choice]:
        worker = self._host.worker(brain)
        if worker is None:
            raise NotAvailable(f"The brain {brain} is not ready on this node.")
        return await worker.submit(("labelling", urgent), worker.brain.choose, asks, background=not urgent)


@dataclass(frozen=True, slots=True)
class Around:
    minds: Minds | None = None
    capacity: Callable[[], int] | None = None
    """How many agents the node has been found, or configured, to have room for in all; None: no bound."""
    name_of: Callable[[NodeId], str] = show_id
    on_event: Callable[[Mapping[str, str | float | int | bool | None]], None] = lambda data: None
