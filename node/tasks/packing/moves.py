"""The moves of the packing language: each turns an arrangement, and perhaps a neighbour's, into a rough new one.

    ROWS k       k straight rows, every other one shifted, in one of the usual ways; surplus points taken out
    HOLE k       k points go where there is most room
    JITTER k     everybody (1), or the points of one region (2, 3), is pushed about, harder with k
    COPY         the neighbour's arrangement
    CROSS        one side of a line from us, the other from the neighbour
    REFLECT      one half, mirrored
    FROM k       the neighbour's arrangement, k points of it moved into holes
    RESTART      anywhere

What comes out is rough: `polish` makes a packing of it. No move knows a radius that the search has not found itself.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from node.tasks.packing.polish import typical_distance

if TYPE_CHECKING:
    from node.tasks.packing.geometry import Points

MOVES = (
    "JITTER 1", "JITTER 2", "JITTER 3", "HOLE 1", "HOLE 2", "HOLE 3", "ROWS", "REFLECT", "RESTART", "COPY", "CROSS", "FROM 1", "FROM 2",
)  # fmt: skip
SPOKEN = {
    "JITTER 1": "jitter", "JITTER 2": "shake", "JITTER 3": "shift", "HOLE 1": "hole", "HOLE 2": "gap", "HOLE 3": "empty", "ROWS": "rows",
    "REFLECT": "mirror", "RESTART": "restart", "COPY": "copy", "CROSS": "cross", "FROM 1": "borrow", "FROM 2": "adapt",
}  # fmt: skip
"""A word of one token for each move."""
SOCIAL = frozenset({"COPY", "CROSS", "FROM"})
"""Moves that need a neighbour."""
ROUGH = frozenset({"ROWS", "CROSS", "REFLECT", "RESTART"})
"""Moves whose outcome is relaxed before it is polished."""
GRID = 32
"""Places along a side where a hole is looked for."""


def apply(move: str, own: Points, other: Points | None, rng: random.Random) -> Points:
    """The rough arrangement that a move makes. Raises `ValueError` for a word that is no move of the language."""
    import numpy as np

    word, _, argument = move.partition(" ")
    act = _ACTS.get(word)
    if act is None or not (argument or "1").isdecimal():
        raise ValueError(f"no such move: {move[:40]}")
    if word in SOCIAL and other is None:
        act = _ACTS["JITTER"]
    moved = act(own, own if other is None else other, max(1, min(8, int(argument or "1"))), rng)
    return np.clip(moved, 0.0, 1.0)


def scatter(count: int, rng: random.Random) -> Points:
    """Points anywhere."""
    import numpy as np

    return np.array([[rng.random(), rng.random()] for _ in range(count)]).reshape(count, 2)


def rows(count: int, rng: random.Random) -> Points:
    """A seed of straight rows: their number near that of a hexagonal or a square packing, lengths equal or alternating."""
    import numpy as np

    ideal = math.sqrt(count) * rng.choice((1.0, 2.0 / 3.0**0.5, 1.0))
    number = max(1, min(count, round(ideal) + rng.choice((-1, 0, 0, 1))))
    lengths = [count // number] * number
    pattern = rng.randrange(3)
    if pattern == 0:  # alternating long and short rows
        long = math.ceil((count + number // 2) / number)
        lengths = [long - row % 2 for row in range(number)]
    while sum(lengths) < count:
        lengths[rng.randrange(number)] += 1
    placed = []
    for row, length in enumerate(lengths):
        y = row / max(1, number - 1)
        for place in range(length):
            shift = 0.5 * (row % 2) if pattern == 1 else 0.0
            placed.append(((place + shift) / max(0.5, length - 1 + (0.5 if pattern == 1 else 0.0)), y))
    arranged = np.array(placed)
    while len(arranged) > count:
        arranged = np.delete(arranged, rng.randrange(len(arranged)), 0)
    if rng.random() < 0.5:
        arranged = arranged[:, ::-1]
    return np.clip(arranged + _noise(len(arranged), 0.04 * typical_distance(count), rng), 0.0, 1.0)


def fit(points: Points, count: int, rng: random.Random) -> Points:
    """Exactly `count` points: the most crowded are taken out, holes are filled."""
    import numpy as np

    arranged = np.asarray(points, float).reshape(-1, 2)
    while len(arranged) > count:
        apart = ((arranged[:, None] - arranged[None]) ** 2).sum(2) + 9.0 * np.eye(len(arranged))
        arranged = np.delete(arranged, int(apart.min(1).argmin()), 0)
    while len(arranged) < count:
        arranged = np.vstack([arranged, hole(arranged, rng, 1)])
    return arranged


def hole(points: Points, rng: random.Random, choices: int = 6) -> Points:
    """A place with much room, of the best few; shape (2,)."""
    import numpy as np

    side = np.linspace(0.0, 1.0, GRID)
    places = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    room = ((places[:, None] - points[None]) ** 2).sum(2).min(1) if len(points) else np.ones(len(places))
    chosen = []
    for _ in range(rng.randint(1, choices)):  # one place a hole: what is near the last one is out
        best = int(room.argmax())
        chosen.append(places[best])
        room = np.minimum(room, ((places - places[best]) ** 2).sum(1))
    place: Points = chosen[-1]
    return place


def _jitter(own: Points, other: Points, strength: int, rng: random.Random) -> Points:
    import numpy as np

    size = typical_distance(len(own))
    if strength == 1:
        return own + _noise(len(own), rng.choice((0.08, 0.2, 0.35)) * size, rng)
    middle = np.array([rng.random(), rng.random()])
    inside = ((own - middle) ** 2).sum(1) < (0.2 + 0.1 * strength) ** 2
    shaken: Points = own + _noise(len(own), 0.3 * strength * size, rng) * inside[:, None]
    return shaken


def _hole(own: Points, other: Points, number: int, rng: random.Random) -> Points:
    import numpy as np

    moved = own.copy()
    for index in rng.sample(range(len(own)), min(number, len(own))):
        moved[index] = hole(np.delete(moved, index, 0), rng)
    return moved


def _cross(own: Points, other: Points, _: int, rng: random.Random) -> Points:
    import numpy as np

    other = _turned(other, rng)
    angle, through = rng.uniform(0.0, 2.0 * math.pi), np.array([rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)])
    normal = np.array([math.cos(angle), math.sin(angle)])
    both = np.vstack([own[(own - through) @ normal <= 0.0], other[(other - through) @ normal > 0.0]])
    return fit(both, len(own), rng)


def _reflect(own: Points, other: Points, _: int, rng: random.Random) -> Points:
    import numpy as np

    turned = _turned(own, rng)
    kept = turned[turned[:, 0] <= 0.5]
    mirrored = kept.copy()
    mirrored[:, 0] = 1.0 - mirrored[:, 0]
    if rng.random() < 0.5:  # half a turn instead of a mirror
        mirrored[:, 1] = 1.0 - mirrored[:, 1]
    return fit(np.vstack([kept, mirrored]), len(own), rng) + _noise(len(own), 1e-3, rng)


def _turned(points: Points, rng: random.Random) -> Points:
    """One of the square's eight symmetries."""
    turned = points[:, ::-1] if rng.random() < 0.5 else points.copy()
    for axis in (0, 1):
        if rng.random() < 0.5:
            turned = turned.copy()
            turned[:, axis] = 1.0 - turned[:, axis]
    return turned


def _noise(count: int, size: float, rng: random.Random) -> Points:
    import numpy as np

    return np.array([[rng.gauss(0.0, size), rng.gauss(0.0, size)] for _ in range(count)]).reshape(count, 2)


_ACTS: dict[str, Callable[[Points, Points, int, random.Random], Points]] = {
    "ROWS": lambda own, other, _, rng: rows(len(own), rng),
    "HOLE": _hole,
    "JITTER": _jitter,
    "COPY": lambda own, other, _, rng: other.copy(),
    "CROSS": _cross,
    "REFLECT": _reflect,
    "FROM": lambda own, other, number, rng: _hole(_turned(other, rng), own, number, rng),
    "RESTART": lambda own, other, _, rng: scatter(len(own), rng),
}
