"""A run's grid of cells."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocol.messages.fields import Count, Id, Name


class CellStart(Struct, frozen=True, array_like=True, tag=40):
    """Home of a run to every node that hosts a cell of it: the plan of the grid."""

    run_id: Id
    task: Name
    seed: Count
    size: Annotated[int, Meta(ge=1, le=64)]
    iterations: Annotated[int, Meta(ge=1, le=10_000)]
    placement: Annotated[list[Id], Meta(max_length=4096)]
    """Row-major: the node that hosts each cell."""
    settings: dict[Name, int | float | Annotated[str, Meta(max_length=1024)]] = {}
    """Parameters of the task and of the grid."""
    epoch: Count = 0
    """Grows with every new placement of the run; of two plans the one with the higher epoch holds."""
    iteration: Count = 0
    """Cells in `resumed` go on after this iteration."""
    resumed: dict[int, Annotated[bytes, Meta(max_length=4096)]] = {}
    """Cells that the receiver is to go on with where it does not do so already, with the newest solution known."""
    term: Count = 0
    """How often the run's home has changed; a plan of a lower term than one known is refused."""
    elapsed: Annotated[float, Meta(ge=0.0, le=1e9)] = 0.0
    """Seconds that the run had been under way when this plan was made."""
    links: Annotated[list[tuple[Id, Id]], Meta(max_length=1024)] = []
    """Under the topology `overlay`: which of the hosts are neighbours."""
    reached: dict[int, Count] = {}
    """Cells in `resumed` go on after this iteration of theirs."""


class CellMessage(Struct, frozen=True, array_like=True, tag=41):
    """What one cell says to a neighbouring cell after an iteration."""

    run_id: Id
    iteration: Count
    sender: Annotated[int, Meta(ge=0, le=4095)]
    receiver: Annotated[int, Meta(ge=0, le=4095)]
    body: Annotated[bytes, Meta(max_length=4096)]
    persona: Annotated[bytes, Meta(max_length=8)] = b""
    """The sender's traits, so that those of a winner can spread."""


class CellReport(Struct, frozen=True, array_like=True, tag=42):
    """A cell's state after an iteration, told to the run's home."""

    run_id: Id
    iteration: Count
    cell: Annotated[int, Meta(ge=0, le=4095)]
    score: float
    solution: Annotated[bytes, Meta(max_length=4096)]
    heard: Annotated[list[Count], Meta(max_length=64)]
    """The cells whose messages it had read when it proposed."""
    last: bool = False
    """The cell has ended."""
    tried: Count = 0
    """Proposals evaluated in this iteration."""
    note: Annotated[str, Meta(max_length=2048)] = ""
    """The prompt and the reply, where a model chose; why a cell failed."""


class CellControl(Struct, frozen=True, array_like=True, tag=80):
    """Home of a run to its hosts: from now on the run is in this state, with these live settings."""

    run_id: Id
    state: Name
    """`running`, `paused` or `stopped`."""
    settings: dict[Name, int | float | Annotated[str, Meta(max_length=1024)]] = {}
    term: Count = 0
    """As in the plan that it belongs to."""


class CellBundle(Struct, frozen=True, array_like=True, tag=90):
    """What the cells and the runs of one node have to say to another, in one frame."""

    messages: Annotated[list[CellMessage | CellReport | CellControl], Meta(min_length=1, max_length=1024)]


class HostLinks(Struct, frozen=True, array_like=True, tag=91):
    """A host to the home of a run with the topology `overlay`: my neighbours in the overlay."""

    run_id: Id
    neighbours: Annotated[list[Id], Meta(max_length=64)]
