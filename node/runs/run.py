"""One run, and what a kind of run has to bring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from protocol.api import IterationInfo, RunInfo, TaskInfo
from protocol.identity import show_id


@dataclass(slots=True)
class Run:
    """The state of one long job; its job changes it, the manager shows it."""

    run_id: bytes
    task: str
    params: Mapping[str, int]
    started_at: float
    """Monotonic seconds."""
    state: Literal["pending", "running", "done", "failed"] = "pending"
    detail: str = ""
    iterations: Callable[[], list[IterationInfo]] = list
    """What it has to show so far."""

    def info(self) -> RunInfo:
        return RunInfo(show_id(self.run_id), self.task, self.state, self.detail, self.params.get("size", 0), self.iterations())


class Job(ABC):
    """A kind of run."""

    @abstractmethod
    def info(self) -> TaskInfo:
        """Name, description, and for each parameter `low`, `high` and `default`."""

    @abstractmethod
    async def carry_out(self, run: Run) -> None:
        """Do the work, bounded in time, keeping `run.iterations` and `run.detail` up to date. Raises `UserError` when it failed."""
