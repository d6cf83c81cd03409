"""Long jobs: runs, their cells, artifacts and tasks."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class RunRequest(Struct, frozen=True, forbid_unknown_fields=True):
    task: str
    params: dict[str, int | float | str] = {}


class RunEdit(Struct, frozen=True, forbid_unknown_fields=True):
    """New values of parameters of a run: live ones at any time, others never."""

    params: dict[str, int | float | str]


class ArtifactInfo(Struct, frozen=True):
    """A file that a run has made."""

    name: str
    bytes: int
    media: str


class CellInfo(Struct, frozen=True):
    cell: int
    row: int
    column: int
    node_id: str
    score: float
    solution: str
    heard: list[int]
    tried: int = 0
    """Proposals evaluated in this iteration."""
    note: str = ""
    """The prompt and the reply, where a model chose; why a cell failed."""


class IterationInfo(Struct, frozen=True):
    iteration: int
    mean: float
    best: float
    worst: float
    cells: list[CellInfo]


class RunInfo(Struct, frozen=True):
    run_id: str
    task: str
    state: Literal["pending", "running", "paused", "stopped", "done", "failed"]
    detail: str
    size: int
    iterations: list[IterationInfo]
    params: dict[str, int | float | str] = {}
    progress: float = 0.0
    """0 to 1."""
    eta_s: float | None = None
    best: float | None = None
    """The best score so far."""
    solution: str = ""
    """What has it, as the task renders it: a word, or JSON."""
    tried: int = 0
    """Proposals evaluated so far."""


class TaskInfo(Struct, frozen=True):
    name: str
    description: str
    params: dict[str, dict[str, int | float | str | bool | list[str]]]
    """For each parameter `default`, `low`, `high` and `step` or `choices`, and whether it is `live`."""
