"""The task contract, on one page.

A task is pure and bound to its parameters; a cell's solution is bytes, so that it travels. A cell that looks for something better asks
for a move among `moves`, from the features that `describe` gives, and the task carries it out in `propose`; or it writes a solution in
words, which `parse` reads and `repair` makes valid. `evaluate` alone says what a solution is worth.

A task file defines one subclass of `Task`; it runs in a child process with limits (`node.tasks.child`).
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

MAX_SOLUTION = 4_096
"""Bytes, as in `protocol.messages.CellMessage.body`."""

WRITTEN = "WRITTEN "
"""Before a text that a model wrote as a whole solution, where otherwise a move stands."""

Value = int | float | str
Heard = Mapping[int, bytes]
"""A neighbour's cell number -> its newest solution, checked by `valid`."""


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter: `low`, `high` and `step` for numbers, `choices` for words; `live` ones may be changed while a run goes on."""

    default: Value
    low: float = 0.0
    high: float = 0.0
    step: float = 1.0
    choices: tuple[str, ...] = ()
    live: bool = False


class Task(ABC):
    """One kind of problem, bound to its parameters."""

    name: ClassVar[str]
    description: ClassVar[str]
    params: ClassVar[Mapping[str, Param]] = {}
    spoken: ClassVar[Mapping[str, str]] = {}
    """For each move a word for a model to say; best one token each, all beginning differently: then choosing one costs next to nothing."""
    heavy: ClassVar[bool] = True
    """Its steps take more than a millisecond: they run in child processes, and cells keep the best they had."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        """`values`: every parameter, within its range."""
        self.values = values

    @abstractmethod
    def valid(self, solution: bytes) -> bool:
        """Whether bytes from a peer are a solution at all. Cheap."""

    @abstractmethod
    def start(self, rng: random.Random) -> bytes:
        """A cell's first solution."""

    @abstractmethod
    def moves(self) -> Sequence[str]:
        """The words of the move language."""

    def describe(self, own: bytes, heard: Heard) -> str:
        """Features of the situation for a model that is to choose a move: a few short words, no raw coordinates.

        What comes from the neighbours' messages stands last, behind a `|`.
        """
        return ""

    def invite(self, own: bytes, heard: Heard) -> tuple[str, list[str]]:
        """For a model that writes whole solutions: what is asked, and the neighbours' solutions in words, the best last.

        An empty question: solutions of this task are not written in words.
        """
        return "", []

    @abstractmethod
    def propose(self, own: bytes, heard: Heard, rng: random.Random, move: str = "") -> bytes:
        """What a move makes of a solution, repaired; without a move the task chooses one itself."""

    @abstractmethod
    def evaluate(self, solution: bytes) -> float:
        """What a solution is worth; higher is better, never NaN."""

    def score(self, own: bytes, heard: Heard, neighbours: int) -> float:
        """What a cell's solution is worth where it stands; most tasks do not look at the neighbours."""
        return self.evaluate(own)

    @abstractmethod
    def render(self, solution: bytes) -> str:
        """The solution for people and for `best.json`: a word, or JSON."""

    def parse(self, text: str) -> bytes | None:
        """The solution that a model wrote in words, None where there is none."""
        return None

    def repair(self, solution: bytes, rng: random.Random) -> bytes:
        """The valid solution nearest to one that `parse` read."""
        return solution
