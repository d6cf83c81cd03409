"""Scripted agents of known skill and correlation, for the council's benchmark: who answers what, and how sure it says it is.

Three brains; an agent follows its brain's shared draw with probability `FOLLOWS` and else its own, so two agents of one brain err alike
with correlation `FOLLOWS` squared. Stated certainty is overconfident and only loosely tied to being right, as small models' is. Liars agree
on one wrong answer to each question; those who recognise a canary answer it like honest agents.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

CHOICES = 4
BRAINS = 3
FOLLOWS = 0.5
RECOGNISED = 0.5
RESAMPLES = 5


@dataclass(frozen=True, slots=True)
class Agent:
    brain: int
    skill: float
    liar: bool = False
    recognises: bool = False
    """Half of the canaries, and answers those honestly."""
    acts: str = ""
    """`reverse`: lies on canaries and is honest on questions; `sleeper`: flawless on canaries, lies on questions."""


@dataclass(frozen=True, slots=True)
class Said:
    """One agent's answer: its probabilities, and how often it gave its modal answer when asked again and again."""

    probabilities: tuple[float, ...]
    best: int
    consistency: float


def crew(count: int, liars: int, rng: random.Random, *, recognises: bool = False, acts: str = "") -> list[Agent]:
    """Skills from 0.45 to 0.85; the last `liars` of them lie."""
    agents = [Agent(number % BRAINS, rng.uniform(0.45, 0.85)) for number in range(count)]
    return [*agents[: count - liars], *(Agent(a.brain, a.skill, True, recognises, acts) for a in agents[count - liars :])]


def ask(agents: list[Agent], truth: int, rng: random.Random, *, canary: bool) -> list[Said]:
    """One question to all."""
    shared = [(rng.random(), rng.randrange(CHOICES - 1)) for _ in range(BRAINS)]
    lie = (truth + 1 + rng.randrange(CHOICES - 1)) % CHOICES
    recognised = canary and rng.random() < RECOGNISED
    said = []
    for agent in agents:
        luck, slip = shared[agent.brain] if rng.random() < FOLLOWS else (rng.random(), rng.randrange(CHOICES - 1))
        right = luck < agent.skill
        answer = truth if right else (truth + 1 + slip) % CHOICES
        sure = 0.5 + 0.45 * rng.random() ** (0.7 if right else 1.3)
        if agent.liar and not (agent.recognises and recognised) and (agent.acts == "" or canary == (agent.acts == "reverse")):
            answer, sure = lie, 0.95
        elif agent.acts == "sleeper":
            answer = truth
        rest = (1.0 - sure) / (CHOICES - 1)
        agreeing = sum(rng.random() < sure for _ in range(RESAMPLES)) / RESAMPLES
        said.append(Said(tuple(sure if index == answer else rest for index in range(CHOICES)), answer, agreeing))
    return said


def all_knowing(agents: Sequence[Agent], said: Sequence[Said]) -> int:
    """The answer of one who knows every skill, how certainty goes with being right, and who lies: no rule can be expected to do better.

    (Naive Bayes: exact while no two honest agents share a brain.) A lie counts as ruled out.
    """
    scores = [0.0] * CHOICES
    for agent, one in zip(agents, said, strict=True):
        drawn = min(1.0, max(1e-9, (max(one.probabilities) - 0.5) / 0.45))
        tells = math.log(1.3 / 0.7) + (1 / 0.7 - 1 / 1.3) * math.log(drawn)
        scores[one.best] += -100.0 if agent.liar else math.log(agent.skill * (CHOICES - 1) / (1.0 - agent.skill)) + tells
    return max(range(CHOICES), key=scores.__getitem__)


def logprobs(said: Said) -> list[float]:
    return [math.log(p) for p in said.probabilities]
