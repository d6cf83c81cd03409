"""`circle_packing`: equal circles in the unit square, either of two questions.

`radius` 0: `n` circles are given, the largest common radius is looked for. Otherwise the radius is given and as many circles as possible
are looked for; a packing scores its count, plus the share of the square it would cover at its own largest radius, so that of two
packings with as many circles the roomier one is better and the next circle comes nearer.
"""

from __future__ import annotations

import array
import json
import math
import random
from typing import TYPE_CHECKING, ClassVar

from node.tasks.base import Heard, Param, Task, Value
from node.tasks.packing.geometry import centres_of, common_radius, radius_of_points
from node.tasks.packing.moves import MOVES, ROUGH, SPOKEN, apply, fit, rows, scatter

if TYPE_CHECKING:
    from node.tasks.packing.geometry import Points

MAX_CIRCLES = 200
WEIGHTS = {
    "JITTER 1": 2.0, "JITTER 2": 2.0, "JITTER 3": 1.0, "HOLE 1": 5.0, "HOLE 2": 3.0, "HOLE 3": 1.0, "ROWS": 0.5, "REFLECT": 0.5,
    "RESTART": 0.3, "COPY": 0.05, "CROSS": 0.7, "FROM 1": 0.3, "FROM 2": 0.2,
}  # fmt: skip
"""How often the scripted chooser takes each move: found by hand on n = 10 to 20."""


class CirclePacking(Task):
    """A solution is 16 bytes a point, little-endian doubles x, y of points in the unit square (`geometry`)."""

    name = "circle_packing"
    description = "n equal circles in the unit square, as large as possible; or, for a given radius, as many as possible."
    params: ClassVar = {
        "n": Param(10, 1, MAX_CIRCLES),
        "radius": Param(0.0, 0.0, 0.5, 0.0001),
        "proposals": Param("moves", choices=("moves", "coordinates")),
    }
    spoken: ClassVar = SPOKEN

    def __init__(self, values: dict[str, Value]) -> None:
        super().__init__(values)
        self._count = int(values["n"])
        self._radius = float(values["radius"])

    def valid(self, solution: bytes) -> bool:
        if not solution or len(solution) % 16 or len(solution) > 16 * MAX_CIRCLES:
            return False
        if not self._radius and len(solution) != 16 * self._count:
            return False
        numbers = array.array("d", solution)
        return all(math.isfinite(number) and 0.0 <= number <= 1.0 for number in numbers)

    def start(self, rng: random.Random) -> bytes:
        count = self._first_count() if self._radius else self._count
        return self._finish(rows(count, rng) if rng.random() < 0.4 else scatter(count, rng), rough=True)

    def moves(self) -> tuple[str, ...]:
        return MOVES

    def describe(self, own: bytes, heard: Heard) -> str:
        mine = self._rough(own)
        scores = [self._rough(solution) for solution in heard.values()]
        best = max(scores, default=mine)
        same = sum(abs(score - mine) < 1e-9 for score in scores)
        standing = "ahead" if mine > best + 1e-9 else "level" if mine >= best - 1e-9 else "behind"
        gap = "none" if mine >= best - 1e-9 else "small" if best / max(mine, 1e-9) < 1.01 else "large"
        alike = "none" if not same else "all" if same == len(scores) else "some"
        return f"circles {len(own) // 16}; loose {self._loose(own)} | standing {standing}; gap {gap}; alike {alike}"

    def invite(self, own: bytes, heard: Heard) -> tuple[str, list[str]]:
        """Centres with two decimals, as in the original; the model continues the list of lists."""
        ranked = sorted([own, *heard.values()], key=self._rough)
        shown = [" ".join(f"{x:.2f},{y:.2f}" for x, y in centres_of(unpack(solution))) for solution in ranked]
        return f"{self._count} points in the unit square, far apart:", shown

    def propose(self, own: bytes, heard: Heard, rng: random.Random, move: str = "") -> bytes:
        move = move or rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        points = unpack(own)
        if self._radius and rng.random() < 0.5:
            points = fit(points, len(points) + 1, rng)
        other = unpack(heard[rng.choice(sorted(heard))]) if heard else None
        if other is not None and len(other) != len(points):
            other = fit(other, len(points), rng)
        return self._finish(apply(move, points, other, rng), rough=move.split()[0] in ROUGH)

    def evaluate(self, solution: bytes) -> float:
        """The radius (n given), or count plus density; computed from the centres, checked in rational arithmetic."""
        if not self.valid(solution):
            return 0.0
        centres = centres_of(unpack(solution))
        found = common_radius(centres)
        if not self._radius:
            return found
        if found < self._radius:
            return 0.0
        return len(centres) + math.pi * found * found * len(centres)

    def _rough(self, solution: bytes) -> float:
        """What `evaluate` says, to rounding: enough to compare neighbours."""
        points = unpack(solution)
        return radius_of_points(points) + (len(points) if self._radius else 0)

    def render(self, solution: bytes) -> str:
        centres = centres_of(unpack(solution))
        result = {"task": self.name, "n": len(centres), "radius": common_radius(centres), "centres": centres}
        return json.dumps(result)

    def parse(self, text: str) -> bytes | None:
        """Pairs of numbers in [0, 1], in any notation, as many as are there."""
        import re

        numbers = [float(found) for found in re.findall(r"(?<![\w.])[01]?\.\d+|(?<![\w.])[01](?![\w.])", text)[: 2 * MAX_CIRCLES]]
        numbers = numbers[: len(numbers) // 2 * 2]
        return array.array("d", [min(1.0, number) for number in numbers]).tobytes() if numbers else None

    def repair(self, solution: bytes, rng: random.Random) -> bytes:
        return self._finish(fit(unpack(solution), self._count, rng), rough=True)

    def _finish(self, points: Points, *, rough: bool) -> bytes:
        from node.tasks.packing.polish import polish, relax

        return bytes(polish(relax(points) if rough else points).astype("<f8").tobytes())

    def _first_count(self) -> int:
        """As many circles as a square lattice of the given radius holds."""
        return max(1, min(MAX_CIRCLES, int(1.0 / (2.0 * self._radius) + 1e-9) ** 2))

    def _loose(self, own: bytes) -> int:
        """Circles that touch fewer than two others: they may rattle."""
        import numpy as np

        points = unpack(own)
        if len(points) < 2:
            return 0
        apart = np.sqrt(((points[:, None] - points[None]) ** 2).sum(2)) + 9.0 * np.eye(len(points))
        return int(((apart < apart.min() * (1.0 + 1e-6)).sum(1) < 2).sum())


def unpack(solution: bytes) -> Points:
    """Shape (n, 2), a copy."""
    import numpy as np

    return np.frombuffer(solution, "<f8").reshape(-1, 2).copy()
