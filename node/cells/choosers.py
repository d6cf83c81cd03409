"""Who picks a cell's next moves: the task's own script, chance, a bandit, or a model.

    scripted   the task's own weights
    random     uniform: the baseline of everything
    bandit     UCB1 (Auer, Cesa-Bianchi and Fischer 2002) on whether a move gained, one bandit a cell
    brain      a model's log-probabilities of the moves, given features of the situation and moves that helped in this run, less those it
               gives when it is told nothing; sampled, not greedy
    shuffled   the same model, told the features of another cell: what it is worth to be told the right ones

A chooser names several moves at once; a cell tries them one after another within one iteration.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from node.brains.base import Ask, Choice, Example, Genome

CHOOSERS = ("scripted", "random", "bandit", "brain", "shuffled")
SHOTS = 6
SUCCESSES = 64
BLANK = "n/a"
TOPIC = "move"

TRAITS = (
    ("bold", "careful", "patient", "curious"),
    ("You look for holes.", "You trust straight rows.", "You love symmetry.", "You shake things."),
    ("You follow your neighbours.", "You go your own way."),
)
"""The grammar of personas: one word or sentence of each row."""

Choose = Callable[[Sequence[Ask]], Awaitable[list[Choice]]]
"""One batch of the brain."""


@dataclass(slots=True)
class Picked:
    """Moves to try in order (none: the task's own choice), and what was said on the way to them."""

    moves: list[str] = field(default_factory=list)
    note: str = ""
    features: str = ""


def persona_text(traits: bytes) -> str:
    temper, method, company = (row[trait % len(row)] for row, trait in zip(TRAITS, traits, strict=True))
    return f"You are one of many minds packing a square, a {temper} one. {method} {company}"


def born(rng: random.Random) -> bytes:
    return bytes(rng.randrange(len(row)) for row in TRAITS)


def adapted(own: bytes, winner: bytes, rng: random.Random) -> bytes:
    """One trait of a neighbour that does better, and now and then a trait of nobody."""
    traits = bytearray(own)
    index = rng.randrange(len(TRAITS))
    if len(winner) == len(TRAITS):
        traits[index] = winner[index] % len(TRAITS[index])
    if rng.random() < 0.1:
        index = rng.randrange(len(TRAITS))
        traits[index] = rng.randrange(len(TRAITS[index]))
    return bytes(traits)


class Chooser(ABC):
    """One cell's."""

    needs_features = False

    @abstractmethod
    async def pick(self, features: str, persona: bytes, count: int, rng: random.Random) -> Picked: ...

    def learn(self, picked: Picked, gains: Sequence[float]) -> None:  # noqa: B027 - most have nothing to learn
        """What became of the moves picked last."""


class Scripted(Chooser):
    async def pick(self, features: str, persona: bytes, count: int, rng: random.Random) -> Picked:
        return Picked()


class Uniform(Chooser):
    def __init__(self, moves: Sequence[str]) -> None:
        self._moves = moves

    async def pick(self, features: str, persona: bytes, count: int, rng: random.Random) -> Picked:
        return Picked(rng.choices(self._moves, k=count))


class Bandit(Chooser):
    def __init__(self, moves: Sequence[str]) -> None:
        self._tried = dict.fromkeys(moves, 0)
        self._won = dict.fromkeys(moves, 0)

    async def pick(self, features: str, persona: bytes, count: int, rng: random.Random) -> Picked:
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


@dataclass(slots=True)
class Shared:
    """What the model's cells of one run on this node have in common: features seen, and moves that helped."""

    seen: deque[str] = field(default_factory=lambda: deque(maxlen=SUCCESSES))
    helped: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=SUCCESSES))


class Model(Chooser):
    needs_features = True

    def __init__(self, brain: str, moves: Sequence[str], choose: Choose, shared: Shared, *, shuffled: bool) -> None:
        self._genome = Genome(brain)
        self._moves = tuple(moves)
        self._choose = choose
        self._shared = shared
        self._shuffled = shuffled

    async def pick(self, features: str, persona: bytes, count: int, rng: random.Random) -> Picked:
        told = rng.choice(list(self._shared.seen) or [features]) if self._shuffled else features
        self._shared.seen.append(features)
        examples = self._examples(rng)
        system = persona_text(persona)
        asks = [Ask(self._genome, question, self._moves, system=system, examples=examples) for question in (told, BLANK)]
        informed, blank = await self._choose(asks)
        scores = [told - prior for told, prior in zip(informed.logprobs, blank.logprobs, strict=True)]
        top = max(scores)
        weights = [math.exp(score - top) for score in scores]
        shares = " ".join(f"{move}={weight / sum(weights):.2f}" for move, weight in zip(self._moves, weights, strict=True))
        shots = "".join(f"{example.question}\nAnswer: {example.answer}\n" for example in examples)
        note = f"{system}\n{shots}{told}\nAnswer:\n\n{shares}"
        return Picked(rng.choices(self._moves, weights, k=count), note[:2_000], features)

    def learn(self, picked: Picked, gains: Sequence[float]) -> None:
        self._shared.helped.extend((picked.features, move) for move, gain in zip(picked.moves, gains, strict=False) if gain > 0.0)

    def _examples(self, rng: random.Random) -> tuple[Example, ...]:
        helped = list(self._shared.helped)
        return tuple(Example(TOPIC, features, self._moves, move) for features, move in rng.sample(helped, min(SHOTS, len(helped))))
