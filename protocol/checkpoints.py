"""What a node needs to go on with a run that another began: a checkpoint, as canonical MessagePack.

`RunState` is what every run has; `body` is its kind's own, for the grid a `GridState`. The record in the DHT (`RunRecord`) says who is
the home and under which hash the newest checkpoint lies.

Pure.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from protocol.errors import Malformed
from protocol.messages import MAX_BLOB, CellStart, Count, Hash, Id, Name

MAX_ROWS = 10_000
"""Iterations whose mean, best and worst score are kept."""
MAX_CELLS = 1_024
"""Reports kept cell by cell, the newest."""
STOPPING = "stopping"
"""The state of a run that was told to stop and still gathers what it has."""
Text = Annotated[str, Meta(max_length=4_096)]
Solution = Annotated[bytes, Meta(max_length=4_096)]

T = TypeVar("T")
_encoder = msgspec.msgpack.Encoder(order="deterministic")


class RunState(Struct, frozen=True, array_like=True):
    """One run of any kind."""

    run_id: Id
    task: Name
    params: dict[Name, int | float | Annotated[str, Meta(max_length=1_024)]]
    state: Name
    """`running`, `paused`, or `STOPPING`."""
    elapsed: Annotated[float, Meta(ge=0.0, le=1e9)]
    """Seconds since it was started."""
    tried: Count
    best: float | None
    body: Annotated[bytes, Meta(max_length=MAX_BLOB)]


class CellState(Struct, frozen=True, array_like=True):
    """The newest that a cell has reported."""

    cell: Count
    iteration: Count
    solution: Solution


class CellRow(Struct, frozen=True, array_like=True):
    """One report, for the run's page and its pictures; prompts and replies stay behind."""

    iteration: Count
    cell: Count
    node_id: Id
    score: float
    label: Text
    heard: Annotated[list[Count], Meta(max_length=64)]
    tried: Count


class IterationRow(Struct, frozen=True, array_like=True):
    """The scores of one iteration, summed up."""

    iteration: Count
    count: Annotated[int, Meta(ge=1, le=4_096)]
    total: float
    best: float
    worst: float


class GridState(Struct, frozen=True, array_like=True):
    """A grid of cells."""

    plan: CellStart
    newest: Annotated[list[CellState], Meta(max_length=4_096)]
    waiting: Annotated[list[Count], Meta(max_length=4_096)]
    """Cells that have not ended."""
    best: Annotated[list[tuple[float, Solution]], Meta(max_length=64)]
    rows: Annotated[list[IterationRow], Meta(max_length=MAX_ROWS)]
    cells: Annotated[list[CellRow], Meta(max_length=MAX_CELLS)]


class RunRecord(Struct, frozen=True, array_like=True):
    """The value of a run's record in the DHT; its author is the home."""

    term: Count
    digest: Hash
    iteration: Count
    holders: Annotated[list[Id], Meta(max_length=16)]
    state: Name


def pack(state: Struct) -> bytes:
    """Equal states give equal bytes."""
    return _encoder.encode(state)


def unpack(data: bytes, kind: type[T]) -> T:
    """Raises `Malformed`."""
    if len(data) > MAX_BLOB:
        raise Malformed("a checkpoint that is too long")
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(f"not a checkpoint: {error}") from error


def check_grid(state: GridState) -> None:
    """What the types do not say. Raises `Malformed`."""
    if state.plan.task.endswith(".py"):
        raise Malformed("a checkpoint whose task is a file: files are run on their own machine only")
    cells = state.plan.size**2
    known = {*(one.cell for one in state.newest), *state.waiting, *(row.cell for row in state.cells)}
    if len(state.plan.placement) != cells or any(not 0 <= cell < cells for cell in known):
        raise Malformed("a checkpoint of cells that its grid does not have")
