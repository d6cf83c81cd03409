"""`number_partition`: whole numbers into two heaps whose sums differ as little as possible."""

from __future__ import annotations

import json
import random
from typing import ClassVar

from node.tasks.base import Heard, Param, Task, Value


class NumberPartition(Task):
    """A solution is a byte a number: its heap, 0 or 1. The numbers are made from `numbers_seed`."""

    name = "number_partition"
    description = "Whole numbers into two heaps whose sums differ as little as possible; the score is 1 / (1 + difference)."
    params: ClassVar = {
        "n": Param(50, 2, 1_000),
        "bits": Param(20, 2, 48),
        "numbers_seed": Param(1, 0, 1_000_000),
    }

    def __init__(self, values: dict[str, Value]) -> None:
        super().__init__(values)
        rng = random.Random(f"partition {values['numbers_seed']}")
        self._numbers = [1 + rng.getrandbits(int(values["bits"])) for _ in range(int(values["n"]))]

    def valid(self, solution: bytes) -> bool:
        return len(solution) == len(self._numbers) and max(solution) <= 1

    def start(self, rng: random.Random) -> bytes:
        return bytes(rng.randrange(2) for _ in self._numbers)

    def moves(self) -> tuple[str, ...]:
        return ("FLIP 1", "FLIP 2", "SWAP", "GREEDY", "CROSS", "RESTART")

    def describe(self, own: bytes, heard: Heard) -> str:
        best = min((self._difference(solution) for solution in heard.values()), default=self._difference(own))
        return f"difference {self._difference(own)}; best neighbour {best}"

    def propose(self, own: bytes, heard: Heard, rng: random.Random, move: str = "") -> bytes:
        move = move or rng.choice(self.moves())
        heaps = bytearray(own)
        if move == "RESTART":
            heaps = bytearray(self.start(rng))
        elif move == "CROSS" and heard:
            other = heard[rng.choice(sorted(heard))]
            heaps = bytearray(rng.choice(pair) for pair in zip(own, other, strict=True))
        elif move == "SWAP":
            first, second = rng.sample(range(len(heaps)), 2)
            heaps[first], heaps[second] = heaps[second], heaps[first]
        elif move != "GREEDY":
            for index in rng.sample(range(len(heaps)), 2 if move == "FLIP 2" else 1):
                heaps[index] ^= 1
        return self._descend(heaps)

    def evaluate(self, solution: bytes) -> float:
        return 1.0 / (1.0 + self._difference(solution)) if self.valid(solution) else 0.0

    def render(self, solution: bytes) -> str:
        return json.dumps({"task": self.name, "difference": self._difference(solution), "heap": list(solution), "numbers": self._numbers})

    def _difference(self, solution: bytes) -> int:
        return abs(sum(number if heap else -number for number, heap in zip(self._numbers, solution, strict=True)))

    def _descend(self, heaps: bytearray) -> bytes:
        """Move single numbers while that helps."""
        signed = sum(number if heap else -number for number, heap in zip(self._numbers, heaps, strict=True))
        while True:
            after, index = min((abs(signed + (-2 if heaps[i] else 2) * number), i) for i, number in enumerate(self._numbers))
            if after >= abs(signed):
                return bytes(heaps)
            signed += (-2 if heaps[index] else 2) * self._numbers[index]
            heaps[index] ^= 1
