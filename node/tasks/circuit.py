"""`travelling_salesman`: the shortest closed tour of points in the unit square."""

from __future__ import annotations

import array
import json
import math
import random
from typing import ClassVar

from node.tasks.base import Heard, Param, Task, Value


class TravellingSalesman(Task):
    """A solution is two bytes a city: the order of visits. The cities are made from `cities_seed`."""

    name = "travelling_salesman"
    description = "The shortest tour of random cities in the unit square; the score is sqrt(0.7124 n) / length, about 1 for a good tour."
    params: ClassVar = {"n": Param(60, 3, 500), "cities_seed": Param(1, 0, 1_000_000)}

    def __init__(self, values: dict[str, Value]) -> None:
        super().__init__(values)
        rng = random.Random(f"cities {values['cities_seed']}")
        self._cities = [(rng.random(), rng.random()) for _ in range(int(values["n"]))]

    def valid(self, solution: bytes) -> bool:
        return len(solution) == 2 * len(self._cities) and sorted(array.array("H", solution)) == list(range(len(self._cities)))

    def start(self, rng: random.Random) -> bytes:
        order = list(range(len(self._cities)))
        rng.shuffle(order)
        return self._pack(self._untangled(order))

    def moves(self) -> tuple[str, ...]:
        return ("TWO-OPT", "BRIDGE", "ANTS", "CROSS", "RESTART")

    def describe(self, own: bytes, heard: Heard) -> str:
        best = min((self._length(self._order(tour)) for tour in heard.values()), default=self._length(self._order(own)))
        return f"length {self._length(self._order(own)):.3f}; best neighbour {best:.3f}"

    def propose(self, own: bytes, heard: Heard, rng: random.Random, move: str = "") -> bytes:
        move = move or rng.choice(self.moves())
        order = self._order(own)
        if move == "RESTART":
            return self.start(rng)
        if move == "ANTS":
            order = self._ant([order, *(self._order(tour) for tour in heard.values())], rng)
        elif move == "CROSS" and heard:
            order = self._crossed(order, self._order(heard[rng.choice(sorted(heard))]), rng)
        elif len(order) >= 8:  # a double bridge: what two-opt alone cannot do
            first, second, third = sorted(rng.sample(range(1, len(order)), 3))
            order = order[:first] + order[second:third] + order[first:second] + order[third:]
        return self._pack(self._untangled(order))

    def evaluate(self, solution: bytes) -> float:
        if not self.valid(solution):
            return 0.0
        return math.sqrt(0.7124 * len(self._cities)) / max(self._length(self._order(solution)), 1e-9)

    def render(self, solution: bytes) -> str:
        order = self._order(solution)
        return json.dumps({"task": self.name, "length": self._length(order), "order": order, "cities": self._cities})

    def _ant(self, tours: list[list[int]], rng: random.Random) -> list[int]:
        """One ant (Dorigo's ant system): the tours known here lay pheromone, nearer cities attract more."""
        trail: dict[tuple[int, int], float] = {}
        for tour in tours:
            laid = 1.0 / self._length(tour)
            for here, there in zip(tour, tour[1:] + tour[:1], strict=True):
                trail[here, there] = trail.get((here, there), 0.0) + laid
                trail[there, here] = trail.get((there, here), 0.0) + laid
        left = set(range(len(self._cities)))
        order = [rng.randrange(len(self._cities))]
        left.discard(order[0])
        while left:
            options = sorted(left, key=lambda city: self._apart(order[-1], city))[:8]
            weights = [(0.01 + trail.get((order[-1], city), 0.0)) / max(1e-9, self._apart(order[-1], city)) ** 2 for city in options]
            order.append(rng.choices(options, weights)[0])
            left.discard(order[-1])
        return order

    @staticmethod
    def _crossed(own: list[int], other: list[int], rng: random.Random) -> list[int]:
        """Order crossover: a stretch of ours, the rest in the neighbour's order."""
        first, last = sorted(rng.sample(range(len(own) + 1), 2))
        kept = set(own[first:last])
        rest = [city for city in other if city not in kept]
        return rest[:first] + own[first:last] + rest[first:]

    def _untangled(self, order: list[int]) -> list[int]:
        """Two-opt until no exchange helps, or long enough."""
        count = len(order)
        for _ in range(30):
            changed = False
            for first in range(count - 1):
                for last in range(first + 2, count - (first == 0)):
                    a, b, c, d = order[first], order[first + 1], order[last], order[(last + 1) % count]
                    if self._apart(a, c) + self._apart(b, d) < self._apart(a, b) + self._apart(c, d) - 1e-12:
                        order[first + 1 : last + 1] = order[first + 1 : last + 1][::-1]
                        changed = True
            if not changed:
                break
        return order

    def _apart(self, first: int, second: int) -> float:
        return math.dist(self._cities[first], self._cities[second])

    def _length(self, order: list[int]) -> float:
        return math.fsum(self._apart(here, there) for here, there in zip(order, order[1:] + order[:1], strict=True))

    @staticmethod
    def _order(solution: bytes) -> list[int]:
        return array.array("H", solution).tolist()

    @staticmethod
    def _pack(order: list[int]) -> bytes:
        return array.array("H", order).tobytes()
