"""The task contract, on one page. First form: what the grid needs and no more."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping

MAX_SOLUTION = 4_096
"""Bytes, as in `protocol.messages.CellMessage.body`."""


class Task(ABC):
    """Moves and scores of one kind of problem. `heard` maps a neighbour's cell number to its newest solution, checked by `valid`."""

    name: str
    description: str

    @abstractmethod
    def valid(self, solution: bytes) -> bool:
        """Whether bytes from a peer are a solution at all."""

    @abstractmethod
    def start(self, rng: random.Random) -> bytes:
        """A cell's first solution."""

    @abstractmethod
    def propose(self, own: bytes, heard: Mapping[int, bytes], rng: random.Random) -> bytes:
        """A cell's next solution, from its own and those it has heard."""

    @abstractmethod
    def score(self, own: bytes, heard: Mapping[int, bytes], neighbours: int) -> float:
        """How good a solution is, in [0, 1], given what was heard from some of so many neighbours."""

    @abstractmethod
    def show(self, solution: bytes) -> str:
        """The solution for people, in a word."""
