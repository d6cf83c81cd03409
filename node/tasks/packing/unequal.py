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

    Circles = NDArray[np.float64]
    """Shape (n, 3): x, y, radius."""

MOVES = ("JITTER 1", "JITTER 2", "HOLE 1", "HOLE 2", "SWAP", "ROWS", "RESTART", "COPY", "FROM 1")
WEIGHTS = (2.0, 2.0, 4.0, 2.0, 2.0, 0.4, 0.2, 0.05, 0.3)
SHRINK = 1e-12
"""Taken off every radius at the end, so that rounding never leaves an overlap."""


class CirclePackingSum(Task):
    """A solution is 24 bytes a circle: doubles x, y, radius."""

    name = "circle_packing_sum"
    description = "n circles of any radii in the unit square, the sum of their radii as large as possible."
    params: ClassVar = {"n": Param(26, 1, 100)}

    def __init__(self, values: dict[str, Value]) -> None:
        super().__init__(values)
        self._count = int(values["n"])

    def valid(self, solution: bytes) -> bool:
        if len(solution) != 24 * self._count:
            return False
        return all(math.isfinite(number) and 0.0 <= number <= 1.0 for number in array.array("d", solution))

    def start(self, rng: random.Random) -> bytes:
        return self._finish(self._seed(rng, rng.random() < 0.5))

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

    def _seed(self, rng: random.Random, in_rows: bool) -> Circles:
        import numpy as np

        points = rows(self._count, rng) if in_rows else scatter(self._count, rng)
        return np.column_stack([np.clip(0.02 + 0.96 * points, 0.0, 1.0), np.full(self._count, 0.01)])

    def _finish(self, circles: Circles) -> bytes:
        return bytes(_polish(circles).astype("<f8").tobytes())


def unpack(solution: bytes) -> Circles:
    import numpy as np

    return np.frombuffer(solution, "<f8").reshape(-1, 3).copy()


def _moved(circles: Circles, word: str, number: int, rng: random.Random) -> Circles:
    import numpy as np

    count, size = len(circles), 0.5 / math.sqrt(len(circles))
    moved = circles.copy()
    if word == "HOLE":
        for index in rng.sample(range(count), min(number, count)):
            moved[index, :2] = hole(np.delete(moved[:, :2], index, 0), rng, 8)
            moved[index, 2] = 0.0
    elif word == "SWAP" and count > 1:
        first, second = rng.sample(range(count), 2)
        moved[[first, second], :2] = moved[[second, first], :2]
    else:
        strength = size * (0.1, 0.6)[number == 2]
        inside = np.ones(count, bool)
        if number == 2:
            middle = np.array([rng.random(), rng.random()])
            inside = ((moved[:, :2] - middle) ** 2).sum(1) < 0.35**2
        noise = np.array([[rng.gauss(0.0, strength), rng.gauss(0.0, strength)] for _ in range(count)])
        moved[:, :2] += noise * inside[:, None]
    moved[:, 2] *= 0.7
    return np.clip(moved, 0.0, 1.0)


def _polish(circles: Circles) -> Circles:
    """Maximise the sum of radii by SLSQP from here, then shrink by what rounding left over."""
    import numpy as np
    from scipy.optimize import minimize

    count = len(circles)
    first, second = np.triu_indices(count, 1)
    reach = 3.2 / math.sqrt(count)
    near = ((circles[first, :2] - circles[second, :2]) ** 2).sum(1) < reach * reach
    first, second = first[near], second[near]
    pairs, circle = np.arange(len(first)), np.arange(count)
    goal = np.zeros(3 * count)
    goal[2::3] = -1.0
    slopes = np.zeros((len(first) + 4 * count, 3 * count))
    for row, (axis, sign) in enumerate(((0, 1.0), (1, 1.0), (0, -1.0), (1, -1.0))):
        slopes[len(first) + row * count + circle, 3 * circle + axis] = sign
        slopes[len(first) + row * count + circle, 3 * circle + 2] = -1.0

    def room(flat: Circles) -> Circles:
        x, y, radius = flat[0::3], flat[1::3], flat[2::3]
        apart = (x[first] - x[second]) ** 2 + (y[first] - y[second]) ** 2 - (radius[first] + radius[second]) ** 2
        return np.concatenate([apart, x - radius, y - radius, 1.0 - x - radius, 1.0 - y - radius])

    def slope(flat: Circles) -> Circles:
        x, y, radius = flat[0::3], flat[1::3], flat[2::3]
        for axis, values in enumerate((x, y)):
            apart = 2.0 * (values[first] - values[second])
            slopes[pairs, 3 * first + axis] = apart
            slopes[pairs, 3 * second + axis] = -apart
        both = -2.0 * (radius[first] + radius[second])
        slopes[pairs, 3 * first + 2] = both
        slopes[pairs, 3 * second + 2] = both
        return slopes

    result = minimize(
        lambda flat: float(goal @ flat), circles.ravel(), jac=lambda flat: goal, method="SLSQP", bounds=[(0.0, 1.0)] * (3 * count),
        constraints=[{"type": "ineq", "fun": room, "jac": slope}], options={"maxiter": 150, "ftol": 1e-13},
    )  # fmt: skip
    found = np.clip(np.nan_to_num(result.x, nan=0.5), 0.0, 1.0).reshape(count, 3)
    return _shrunk(found)


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
