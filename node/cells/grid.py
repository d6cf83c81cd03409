"""Which cells are neighbours. Pure; which node hosts which cell is `protocol.placement`."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

OVERLAY = "overlay"
"""The topology that the swarm itself has: `overlay_graph`, made anew when the overlay or the placement changes."""
TOPOLOGIES = ("neumann", "moore", "torus", "ring", "nearest", "small-world", "isolated", "global", OVERLAY)
MAX_NEIGHBOURS = 64
"""`global` is for grids up to 8 x 8: larger ones hear only so many of the others."""

_FOUR = ((-1, 0), (0, -1), (0, 1), (1, 0))
_EIGHT = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


def neighbours(size: int, cell: int, topology: str = "neumann", seed: int = 0) -> tuple[int, ...]:
    """The cells that a cell of a size x size grid (row-major) hears and is heard by, in rising order.

    neumann (above, left, right, below), moore (with the diagonals) and torus (neumann with wrap); ring (one before, one after);
    nearest (the 12 cells within two steps); small-world (Watts and Strogatz 1998: torus, and each cell of one half keeps a far contact
    in the other half, drawn from `seed`); isolated; global. Under `overlay` this function knows nobody.
    """
    row, column = divmod(cell, size)
    count = size * size
    if topology in ("isolated", OVERLAY):
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


@lru_cache(maxsize=8)
def _contacts(count: int, seed: int) -> Mapping[int, int]:
    """Far contacts: a random pairing of the cells."""
    order = list(range(count))
    random.Random(f"contacts {seed}").shuffle(order)
    pairs = list(zip(order[::2], order[1::2], strict=False))
    return {**dict(pairs), **{second: first for first, second in pairs}}


def overlay_graph(placement: Sequence[bytes], links: Iterable[tuple[bytes, bytes]]) -> dict[int, tuple[int, ...]]:
    """Who hears whom where the overlay is the topology: the cells of a node form a ring, and of two nodes that are neighbours in the
    overlay as many cells are paired as the smaller one has, starting anywhere, so that not all of a node's links end at one cell."""
    homes: dict[bytes, list[int]] = {}
    for cell, host in enumerate(placement):
        homes.setdefault(host, []).append(cell)
    pairs = {(cell, ring[(place + 1) % len(ring)]) for ring in homes.values() for place, cell in enumerate(ring)}
    for one, other in sorted({(min(link), max(link)) for link in links}):
        ours, theirs = homes.get(one, []), homes.get(other, [])
        if one != other and ours and theirs:
            first = int.from_bytes(hashlib.sha256(one + other).digest()[:4], "big")
            pairs |= {
                (ours[(first + place) % len(ours)], theirs[(first + place) % len(theirs)]) for place in range(min(len(ours), len(theirs)))
            }
    around: dict[int, set[int]] = {cell: set() for cell in range(len(placement))}
    for first_cell, second in pairs:
        if first_cell != second:
            around[first_cell].add(second)
            around[second].add(first_cell)
    return {cell: tuple(sorted(near)) for cell, near in around.items()}
