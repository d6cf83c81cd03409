"""Which cells are neighbours, and which node hosts which cell. Pure."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence

from protocol.identity import NodeId

MAX_HOSTS = 64
"""Nodes that one run is spread over."""
TOPOLOGIES = ("neumann", "moore", "torus", "ring", "nearest", "small-world", "isolated", "global")
MAX_NEIGHBOURS = 64
"""`global` is for grids up to 8 x 8: larger ones hear only so many of the others."""

_FOUR = ((-1, 0), (0, -1), (0, 1), (1, 0))
_EIGHT = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


def neighbours(size: int, cell: int, topology: str = "neumann", seed: int = 0) -> tuple[int, ...]:
    """The cells that a cell of a size x size grid (row-major) hears and is heard by, in rising order.

    neumann (above, left, right, below), moore (with the diagonals) and torus (neumann with wrap); ring (one before, one after);
    nearest (the 12 cells within two steps); small-world (Watts and Strogatz 1998: torus, and each cell of one half keeps a far contact
    in the other half, drawn from `seed`); isolated; global.
    """
    row, column = divmod(cell, size)
    count = size * size
    if topology == "isolated":
        return ()
    if topology == "global":
        return tuple(other for other in range(max(0, cell - 32), min(count, cell + 33)) if other != cell)[:MAX_NEIGHBOURS]
    if topology == "ring":
        around = {(cell - 1) % count, (cell + 1) % count}
    elif topology in ("torus", "small-world"):
        around = {(row + r) % size * size + (column + c) % size for r, c in _FOUR}
        if topology == "small-world" and count > 8 and (far := _contacts(count, seed).get(cell)) is not None:
            around.add(far)
    else:
        steps: Sequence[tuple[int, int]] = _EIGHT if topology == "moore" else _FOUR
        if topology == "nearest":
            steps = [(r, c) for r in range(-2, 3) for c in range(-2, 3) if 0 < abs(r) + abs(c) <= 2]
        around = {(row + r) * size + column + c for r, c in steps if 0 <= row + r < size and 0 <= column + c < size}
    return tuple(sorted(around - {cell}))


def _contacts(count: int, seed: int) -> Mapping[int, int]:
    """Far contacts: a random pairing of the cells."""
    order = list(range(count))
    random.Random(f"contacts {seed}").shuffle(order)
    pairs = list(zip(order[::2], order[1::2], strict=False))
    return {**dict(pairs), **{second: first for first, second in pairs}}


def place(run_id: bytes, cells: int, nodes: Sequence[NodeId]) -> list[NodeId]:
    """A node for each cell by rendezvous hashing (Thaler and Ravishankar 1998): the same wherever it is computed, and a node that
    goes or comes moves only its own cells. Of many nodes the `MAX_HOSTS` nearest to the run take part."""
    hosts = sorted(nodes, key=lambda node_id: _weight(run_id, b"host", node_id))[:MAX_HOSTS]
    return [min(hosts, key=lambda node_id: _weight(run_id, cell.to_bytes(4, "big"), node_id)) for cell in range(cells)]


def _weight(run_id: bytes, what: bytes, node_id: NodeId) -> bytes:
    return hashlib.sha256(run_id + what + node_id).digest()
