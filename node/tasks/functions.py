"""`minimise`: well-known continuous functions, their least value at 0."""

from __future__ import annotations

import array
import json
import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar

from node.tasks.base import Heard, Param, Task, Value

Point = Sequence[float]


def _sphere(x: Point) -> float:
    return math.fsum(value * value for value in x)


def _rastrigin(x: Point) -> float:
    return math.fsum(value * value - 10.0 * math.cos(2.0 * math.pi * value) + 10.0 for value in x)


def _rosenbrock(x: Point) -> float:
    return math.fsum(100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in pairwise(x))


def _ackley(x: Point) -> float:
    mean = math.fsum(value * value for value in x) / len(x)
    waves = math.fsum(math.cos(2.0 * math.pi * value) for value in x) / len(x)
    return -20.0 * math.exp(-0.2 * math.sqrt(mean)) - math.exp(waves) + 20.0 + math.e


FUNCTIONS: dict[str, tuple[Callable[[Point], float], float]] = {
    "ackley": (_ackley, 32.0), "rastrigin": (_rastrigin, 5.12), "rosenbrock": (_rosenbrock, 2.0), "sphere": (_sphere, 5.0),
}  # fmt: skip
"""Function and half the side of its cube."""


class Minimise(Task):
    """A solution is two doubles a dimension: position, then velocity."""

    name = "minimise"
    description = "A continuous benchmark function; the score is 1 / (1 + value). Particle-swarm moves beside random ones."
    params: ClassVar = {
        "function": Param("rastrigin", choices=tuple(FUNCTIONS)),
        "dimensions": Param(5, 1, 100),
    }

    def __init__(self, values: dict[str, Value]) -> None:
        super().__init__(values)
        self._function, self._side = FUNCTIONS[str(values["function"])]
        self._dimensions = int(values["dimensions"])

    def valid(self, solution: bytes) -> bool:
        if len(solution) != 16 * self._dimensions:
            return False
        return all(math.isfinite(value) and abs(value) <= 2.0 * self._side for value in array.array("d", solution))

    def start(self, rng: random.Random) -> bytes:
        position = [rng.uniform(-self._side, self._side) for _ in range(self._dimensions)]
        return self._pack(position, [rng.uniform(-1.0, 1.0) for _ in position])

    def moves(self) -> tuple[str, ...]:
        return ("SWARM", "STEP 1", "STEP 2", "STEP 3", "BLEND", "RESTART")

    def describe(self, own: bytes, heard: Heard) -> str:
        best = max((self.evaluate(solution) for solution in heard.values()), default=0.0)
        return f"score {self.evaluate(own):.3g}; best neighbour {best:.3g}"

    def propose(self, own: bytes, heard: Heard, rng: random.Random, move: str = "") -> bytes:
        move = move or rng.choices(self.moves(), (4, 2, 2, 2, 1, 0.1))[0]
        if move == "RESTART":
            return self.start(rng)
        position, velocity = self._parts(own)
        best = self._parts(max(heard.values(), key=self.evaluate))[0] if heard else position
        if move == "SWARM":  # constriction form of Clerc and Kennedy (2002); a cell's own solution is its own best
            velocity = [
                0.73 * v + 1.5 * rng.random() * (b - p) + rng.gauss(0, 1e-3) for p, v, b in zip(position, velocity, best, strict=True)
            ]
            position = [p + v for p, v in zip(position, velocity, strict=True)]
        elif move == "BLEND":
            position = [rng.uniform(p, b) for p, b in zip(position, best, strict=True)]
        else:
            size = self._side * 10.0 ** -rng.uniform(0.0, 2.0 * int(move.split()[1]))
            position = [p + rng.gauss(0.0, size) * (rng.random() < 0.5) for p in position]
        return self._pack(position, velocity)

    def evaluate(self, solution: bytes) -> float:
        return 1.0 / (1.0 + max(0.0, self._function(self._parts(solution)[0]))) if self.valid(solution) else 0.0

    def render(self, solution: bytes) -> str:
        position, _ = self._parts(solution)
        return json.dumps({"task": self.name, "value": self._function(position), "at": position})

    def _pack(self, position: Sequence[float], velocity: Sequence[float]) -> bytes:
        clipped = [min(self._side, max(-self._side, value)) for value in (*position, *velocity)]
        return array.array("d", clipped).tobytes()

    def _parts(self, solution: bytes) -> tuple[list[float], list[float]]:
        numbers = array.array("d", solution).tolist()
        return numbers[: self._dimensions], numbers[self._dimensions :]
