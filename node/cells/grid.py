"""Which cells are neighbours, and which node hosts which cell. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from protocol.identity import NodeId

MAX_HOSTS = 64
"""Nodes that one run is spread over."""


def neighbours(size: int, cell: int) -> tuple[int, ...]:
    """Von Neumann neighbours of a cell of a size x size grid (row-major), without wrap: above, left, right, below."""
    row, column = divmod(cell, size)
    around = ((row - 1, column), (row, column - 1), (row, column + 1), (row + 1, column))
    return tuple(r * size + c for r, c in around if 0 <= r < size and 0 <= c < size)


def place(run_id: bytes, cells: int, nodes: Sequence[NodeId]) -> list[NodeId]:
    """A node for each cell by rendezvous hashing (Thaler and Ravishankar 1998): the same wherever it is computed, and a node that
    goes or comes moves only its own cells. Of many nodes the `MAX_HOSTS` nearest to the run take part."""
    hosts = sorted(nodes, key=lambda node_id: _weight(run_id, b"host", node_id))[:MAX_HOSTS]
    return [min(hosts, key=lambda node_id: _weight(run_id, cell.to_bytes(4, "big"), node_id)) for cell in range(cells)]


def _weight(run_id: bytes, what: bytes, node_id: NodeId) -> bytes:
    return hashlib.sha256(run_id + what + node_id).digest()
