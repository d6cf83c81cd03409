"""Who works on what, without asking anybody: rendezvous hashing (Thaler and Ravishankar 1998), weighted by capacity.

Each (run, thing, node) has a pseudo-random figure and the node with the smallest wins the thing; every node that knows the same others
comes to the same answer. A node that comes takes things from all others and gives none to a third; one that goes leaves only its own.
With -ln(u) / capacity as the figure, u uniform, a node wins a share in proportion to its capacity (Schindelhauer and Schomaker 2005).

Pure.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from protocol.identity import NodeId

MAX_HOSTS = 64
"""Nodes that one run is spread over."""

Claim = tuple[int, bytes]
"""(term, home): who says that it is the home of a run, and for the how manieth time the home has changed."""


def figure(run_id: bytes, thing: bytes, node_id: bytes, capacity: float = 1.0) -> float:
    """The smaller, the nearer; a node without capacity is infinitely far."""
    drawn = int.from_bytes(hashlib.sha256(run_id + thing + node_id).digest()[:8], "big")
    return -math.log((drawn + 1) / (2**64 + 1)) / capacity if capacity > 0 else math.inf


def ranked(run_id: bytes, thing: bytes, nodes: Iterable[bytes]) -> list[NodeId]:
    """Nodes by their nearness to a thing of a run, all alike in capacity."""
    return [NodeId(node) for node in sorted(nodes, key=lambda node_id: (figure(run_id, thing, node_id), node_id))]


def place(run_id: bytes, cells: int, nodes: Mapping[NodeId, float]) -> list[NodeId]:
    """A node for each cell, from the capacities of the nodes; of many nodes the `MAX_HOSTS` nearest to the run take part."""
    hosts = sorted(nodes, key=lambda node_id: (figure(run_id, b"host", node_id, nodes[node_id]), node_id))[:MAX_HOSTS]
    return [
        min(hosts, key=lambda node_id: (figure(run_id, cell.to_bytes(4, "big"), node_id, nodes[node_id]), node_id)) for cell in range(cells)
    ]


def moved(run_id: bytes, old: Sequence[bytes], nodes: Mapping[NodeId, float], new: Collection[bytes]) -> dict[int, NodeId]:
    """Cells that must move, and where to: those whose node is none of `nodes`, and those that a node of `new` wins."""
    fresh = place(run_id, len(old), nodes)
    return {
        cell: wanted
        for cell, (host, wanted) in enumerate(zip(old, fresh, strict=True))
        if wanted != host and (host not in nodes or wanted in new)
    }


def outranks(run_id: bytes, challenger: Claim, holder: Claim) -> bool:
    """Whether one claim to be a run's home beats another: the higher term, and in equal terms the home nearer to the run."""
    if challenger[0] != holder[0]:
        return challenger[0] > holder[0]
    order = ranked(run_id, b"home", {challenger[1], holder[1]})
    return challenger[1] != holder[1] and order[0] == challenger[1]
