"""Graph colouring by local moves: each cell wants a colour that none of its neighbours has."""

from __future__ import annotations

import random
from collections import Counter

from node.tasks.base import Heard, Task

COLOURS = ("red", "green", "blue", "yellow")
STAY = 0.125
"""Neighbours move at the same time: two that both give way to each other would do so for ever."""


class Colouring(Task):
    """Four colours; a solution is one byte, the colour's number."""

    name = "colouring"
    description = "Each cell picks the colour that the neighbours it has heard use least; scripted, needs no model."
    heavy = False

    def valid(self, solution: bytes) -> bool:
        return len(solution) == 1 and solution[0] < len(COLOURS)

    def start(self, rng: random.Random) -> bytes:
        return bytes([rng.randrange(len(COLOURS))])

    def moves(self) -> tuple[str, ...]:
        return COLOURS

    def propose(self, own: bytes, heard: Heard, rng: random.Random, move: str = "") -> bytes:
        """The colour least used among those heard; its own where that is one of them, so that a settled grid stays as it is."""
        if move:
            return bytes([COLOURS.index(move)])
        used = Counter(solution[0] for solution in heard.values())
        fewest = min(used[colour] for colour in range(len(COLOURS)))
        best = [colour for colour in range(len(COLOURS)) if used[colour] == fewest]
        settled = own[0] in best or rng.random() < STAY
        return own if settled else bytes([rng.choice(best)])

    def evaluate(self, solution: bytes) -> float:
        return 0.0

    def score(self, own: bytes, heard: Heard, neighbours: int) -> float:
        """Share of the neighbours that are known to differ; one that was not heard does not count as differing."""
        return sum(solution != own for solution in heard.values()) / neighbours if neighbours else 1.0

    def render(self, solution: bytes) -> str:
        return COLOURS[solution[0]]
