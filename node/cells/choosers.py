"""Who picks a cell's next moves: the task's own script, chance, a bandit, or a model.

    scripted   the task's own weights
    random     uniform: the baseline of everything
    bandit     UCB1 (Auer, Cesa-Bianchi and Fischer 2002) on whether a move gained, one bandit a cell
    brain      a model (`node.cells.minds`)
    shuffled   the same model, told the features of another cell: what it is worth to be told the right ones

A chooser names several moves at once; a cell tries them one after another, and may look and choose again within one iteration.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

CHOOSERS = ("scripted", "random", "bandit", "brain", "shuffled")


@dataclass(frozen=True, slots=True)
class Sight:
    """What a cell sees before it chooses."""

    persona: bytes = b""
    features: str = ""
    """The task's words for the situation; what the neighbours say stands behind the `|`."""
    tried: tuple[tuple[str, bool], ...] = ()
    """Its own last moves, and whether each gained."""
    question: str = ""
    """What is asked of a model that writes whole solutions."""
    shown: tuple[str, ...] = ()
    """The neighbours' solutions in words, the best last."""


@dataclass(slots=True)
class Picked:
    """Moves to try in order (none: the task's own choice), and what was said on the way to them."""

    moves: list[str] = field(default_factory=list)
    prompt: str = ""
    """The prompt and the reply; empty where no model chose."""
    features: str = ""
    heard: str = ""
    """The part of the features that comes from neighbours' messages."""
    tokens: int = 0
    seconds: float = 0.0
    """This cell's share of the model's time."""


class Chooser(ABC):
    """One cell's."""

    wants: ClassVar[Literal["", "features", "invitation"]] = ""
    """What of `Sight` it reads beside the persona: features cost the task an evaluation of each neighbour."""

    @abstractmethod
    async def pick(self, sight: Sight, count: int, rng: random.Random) -> Picked: ...

    def learn(self, picked: Picked, gains: Sequence[float]) -> None:  # noqa: B027 - most have nothing to learn
        """What became of the moves picked last."""


class Scripted(Chooser):
    async def pick(self, sight: Sight, count: int, rng: random.Random) -> Picked:
        return Picked()


class Uniform(Chooser):
    def __init__(self, moves: Sequence[str]) -> None:
        self._moves = moves

    async def pick(self, sight: Sight, count: int, rng: random.Random) -> Picked:
        return Picked(rng.choices(self._moves, k=count))


class Bandit(Chooser):
    def __init__(self, moves: Sequence[str]) -> None:
        self._tried = dict.fromkeys(moves, 0)
        self._won = dict.fromkeys(moves, 0)

    async def pick(self, sight: Sight, count: int, rng: random.Random) -> Picked:
        tried, moves = dict(self._tried), []
        for _ in range(count):
            best = max(tried, key=lambda move: (self._bound(move, tried), rng.random()))
            tried[best] += 1  # counted as a loss until it is known, so that one batch does not hold one move only
            moves.append(best)
        return Picked(moves)

    def learn(self, picked: Picked, gains: Sequence[float]) -> None:
        for move, gain in zip(picked.moves, gains, strict=False):
            self._tried[move] += 1
            self._won[move] += gain > 0.0

    def _bound(self, move: str, tried: dict[str, int]) -> float:
        if not tried[move]:
            return math.inf
        return self._won[move] / tried[move] + math.sqrt(2.0 * math.log(sum(tried.values())) / tried[move])
