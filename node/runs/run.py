"""One run, and what a kind of run has to bring."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from protocol.api.runs import IterationInfo, RunInfo, TaskInfo
from protocol.errors import UserError
from protocol.identity import show_id

State = Literal["pending", "running", "paused", "stopped", "done", "failed"]
Value = int | float | str
OVER: frozenset[State] = frozenset({"stopped", "done", "failed"})
MAX_ARTIFACTS = 64
MAX_ARTIFACT_BYTES = 8 << 20


@dataclass(slots=True)
class Progress:
    """How far a run is and the best it has."""

    fraction: float = 0.0
    best: float | None = None
    solution: str = ""
    tried: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a job can be taken up from."""

    iteration: int
    body: bytes


class TakenOver(UserError):
    """Another node is this run's home now."""


@dataclass(slots=True)
class Run:
    """The state of one long job; its job changes it, the manager shows it."""

    run_id: bytes
    task: str
    params: dict[str, Value]
    started_at: float
    """Monotonic seconds."""
    ended_at: float = 0.0
    """Likewise, once it is over."""
    state: State = "pending"
    detail: str = ""
    iterations: Callable[[], list[IterationInfo]] = list
    """What it has to show so far."""
    progress: Progress = field(default_factory=Progress)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    """Files it has made, by name; in memory, so that a full disk of the node is no concern of a run."""
    on_order: Callable[[State, Mapping[str, Value]], None] = lambda state, values: None
    """Told to pause, go on or stop, and of new values of live parameters."""

    announce: Callable[[], None] = lambda: None
    """Tell whoever listens that there is something new to see."""
    stopping: bool = False
    """It was told to stop, in whatever phase: it gathers what it has and ends."""
    term: int = 0
    """How often the home of this run has changed."""
    saved: bytes = b""
    """Where another home left off, in the form of `snapshot`; empty for a run that begins here."""
    snapshot: Callable[[], Snapshot | None] = lambda: None
    """All that another node needs to go on with it; None while there is nothing to go on with, or for what no other node can do."""
    unsaved: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the next checkpoint should not wait for its time: something was ordered."""

    def keep(self, name: str, content: bytes) -> None:
        """Keep a file; one too many or too large is left out."""
        if (name in self.artifacts or len(self.artifacts) < MAX_ARTIFACTS) and len(content) <= MAX_ARTIFACT_BYTES:
            self.artifacts[name] = content

    def info(self, now: float) -> RunInfo:
        fraction, passed = self.progress.fraction, now - self.started_at
        eta = passed * (1.0 - fraction) / fraction if 0.01 < fraction < 1.0 and self.state == "running" else None
        size = self.params.get("size", 0)
        return RunInfo(
            show_id(self.run_id),
            self.task,
            self.state,
            self.detail,
            size if isinstance(size, int) else 0,
            self.iterations(),
            dict(self.params),
            fraction,
            eta,
            self.progress.best,
            self.progress.solution,
            self.progress.tried,
        )


class Job(ABC):
    """A kind of run."""

    @abstractmethod
    def info(self) -> TaskInfo:
        """Name, description, and for each parameter `default`, `low`, `high`, `step` or `choices`, and `live`."""

    @abstractmethod
    def check(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """Parameters with defaults filled in. Raises `InvalidRequest` naming what there is."""

    @abstractmethod
    def live(self) -> frozenset[str]:
        """Parameters that may be changed while the run goes on."""

    @abstractmethod
    async def carry_out(self, run: Run) -> None:
        """Do the work, bounded in time, keeping `run` up to date. Raises `UserError` when it failed."""
