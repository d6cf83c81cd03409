"""`circle_packing_sum`: n circles of any radii in the unit square, their radii adding up to as much as possible."""

from __future__ import annotations

import array
import json
import math
import random
from typing import TYPE_CHECKING, ClassVar

from node.tasks.base import Heard, Param, Task, Value
from node.tasks.packing.geometry import Centre, holds_exactly
from node.tasks.packing.moves import hole, rows, scatter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from node.tasks.packing.geometry import Points

    Circles = NDArray[np.float64]
    """Shape (n, 3): x, y, radius."""

MOVES = ("JITTER 1", "JITTER 2", "HOLE 1", "HOLE 2", "SMALL", "ROWS", "RESTART", "COPY", "FROM 1")
"""As for equal circles (`moves`); SMALL puts one of the smallest circles anywhere."""
WEIGHTS = (1.0, 3.0, 3.0, 1.0, 3.0, 0.3, 0.1, 0.02, 0.3)
FEW = 6
SHRINK = 1e-12
"""Taken off every radius at the end, so that rounding never leaves an overlap."""


class CirclePackingSum(Task):
    """A solution is 24 bytes a circle: doubles x, y, radius."""

    name = "circle_packing_sum"
    description = "n circles of any radii in the unit square, the sum of their radii as large as possible."
    params: ClassVar = {"n": Param(26, 1, 100)}
    spoken: ClassVar = {
        "JITTER 1": "jitter", "JITTER 2": "shake", "HOLE 1": "hole", "HOLE 2": "gap", "SMALL": "small", "ROWS": "rows",
        "RESTART": "restart", "COPY": "copy", "FROM 1": "borrow",
    }  # fmt: skip

    def __init__(self, values: dict[str, Value]) -> None:
        super().__init__(values)
        self._count = int(values["n"])

    def valid(self, solution: bytes) -> bool:
        if len(solution) != 24 * self._count:
            return False
        return all(math.isfinite(number) and 0.0 <= number <= 1.0 for number in array.array("d", solution))

    def start(self, rng: random.Random) -> bytes:
        return self._finish(self._seed(rng, rng.random() < 0.7))

    def moves(self) -> tuple[str, ...]:
        return MOVES

    def propose(self, own: bytes, heard: Heard, rng: random.Random, move: str = "") -> bytes:
        move = move or rng.choices(MOVES, WEIGHTS)[0]
        word, _, argument = move.partition(" ")
        circles = unpack(own)
        other = unpack(heard[rng.choice(sorted(heard))]) if heard else circles
        if word == "COPY":
            return other.tobytes()
        if word in ("ROWS", "RESTART"):
            return self._finish(self._seed(rng, word == "ROWS"))
        if word == "FROM":
            circles, word = other.copy(), "HOLE"
        return self._finish(_moved(circles, word, int(argument or "1"), rng))

    def evaluate(self, solution: bytes) -> float:
        """The sum of the radii; 0 where two circles overlap by anything at all."""
        if not self.valid(solution):
            return 0.0
        circles = unpack(solution).tolist()
        centres: list[Centre] = [(x, y) for x, y, _ in circles]
        radii = [radius for _, _, radius in circles]
        return math.fsum(radii) if holds_exactly(centres, radii) else 0.0

    def render(self, solution: bytes) -> str:
        circles = unpack(solution).tolist()
        total = self.evaluate(solution)
        result = {"task": self.name, "n": len(circles), "sum": total, "circles": circles}
        return json.dumps(result)

    def _seed(self, rng: random.Random, in_rows: bool) -> Points:
        import numpy as np

        points = rows(self._count, rng) if in_rows else scatter(self._count, rng)
        return np.clip(0.02 + 0.96 * points, 0.0, 1.0)

    def _finish(self, points: Points) -> bytes:
        import numpy as np

        from node.tasks.packing.ascent import swollen

        centres, radii = swollen(points)
        return bytes(_shrunk(np.column_stack([centres, radii])).astype("<f8").tobytes())


def unpack(solution: bytes) -> Circles:
    import numpy as np

    return np.frombuffer(solution, "<f8").reshape(-1, 3).copy()


def _moved(circles: Circles, word: str, number: int, rng: random.Random) -> Points:
    """Rough centres; the radii follow from them."""
    import numpy as np

    count, size = len(circles), 0.5 / math.sqrt(len(circles))
    moved = circles[:, :2].copy()
    if word == "HOLE":
        for index in rng.sample(range(count), min(number, count)):
            moved[index] = hole(np.delete(moved, index, 0), rng, 8)
    elif word == "SMALL":
        smallest = np.argsort(circles[:, 2])[:FEW].tolist()
        moved[rng.choice(smallest)] = [rng.random(), rng.random()]
    else:
        strength = size * (0.1, 0.6)[number == 2]
        inside = np.ones(count, bool)
        if number == 2:
            middle = np.array([rng.random(), rng.random()])
            inside = ((moved - middle) ** 2).sum(1) < 0.35**2
        noise = np.array([[rng.gauss(0.0, strength), rng.gauss(0.0, strength)] for _ in range(count)])
        moved += noise * inside[:, None]
    return np.clip(moved, 0.0, 1.0)


def _shrunk(circles: Circles) -> Circles:
    """Radii lowered until nothing overlaps: by each circle's own worst overlap, twice."""
    import numpy as np

    found = circles.copy()
    walls = np.minimum(np.minimum(found[:, 0], found[:, 1]), 1.0 - np.maximum(found[:, 0], found[:, 1]))
    found[:, 2] = np.minimum(found[:, 2], walls)
    if len(found) > 1:
        apart = np.sqrt(((found[:, None, :2] - found[None, :, :2]) ** 2).sum(2)) + 9.0 * np.eye(len(found))
        over = found[:, None, 2] + found[None, :, 2] - apart
        found[:, 2] -= np.maximum(over.max(1), 0.0)
    found[:, 2] = np.maximum(found[:, 2] - SHRINK, 0.0)
    return found
