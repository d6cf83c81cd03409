"""How good an agent has shown itself to be: Beta posteriors over people's ratings, in all and per topic, that fade with time.

Evidence halves every `HALF_LIFE_S`, and each rating takes `FADE` of what was there before: agents learn, so what one was blamed for as
a beginner says little about what it is now. Uniform prior; a child starts with a little of its parent's evidence.
"""

from __future__ import annotations

import math

from msgspec import Struct
from msgspec.structs import replace

HALF_LIFE_S = 7 * 86_400.0
FADE = 1.0 / 40.0
INHERITED = 4.0
"""Ratings that a child's start is worth."""
MAX_TOPICS = 16
"""Topics remembered for one agent; the one with least evidence goes first."""


class Fitness(Struct, frozen=True, array_like=True):
    """Evidence for and against, in whole or partial ratings, as of `at` (wall clock, seconds)."""

    good: float = 0.0
    bad: float = 0.0
    at: float = 0.0
    topics: dict[str, tuple[float, float]] = {}
    """Topic -> (good, bad), as of the same time."""

    @property
    def mean(self) -> float:
        """Posterior mean under Beta(1, 1): 0.5 before the first rating, in (0, 1) always."""
        return (1.0 + self.good) / (2.0 + self.good + self.bad)

    @property
    def spread(self) -> float:
        """Posterior standard deviation under Beta(1, 1): 0.29 before the first rating, under 0.08 after forty."""
        total = 2.0 + self.good + self.bad
        return math.sqrt(self.mean * (1.0 - self.mean) / (total + 1.0))

    def on(self, topic: str | None) -> float:
        """Posterior mean on a topic, with all ratings together as a prior worth two; the mean of all where it has no evidence."""
        good, bad = self.topics.get(topic or "", (0.0, 0.0))
        return (2.0 * self.mean + good) / (2.0 + good + bad)

    def rated(self, score: float, *, weight: float = 1.0, topic: str | None = None, now: float = 0.0) -> Fitness:
        """After one more rating in [0, 1] that counts `weight`."""
        faded = _less(self.faded(now), 1.0 - FADE * weight)
        topics = dict(faded.topics)
        if topic is not None:
            good, bad = topics.get(topic, (0.0, 0.0))
            topics[topic] = (good + weight * score, bad + weight * (1.0 - score))
            if len(topics) > MAX_TOPICS:
                del topics[min(topics.keys() - {topic}, key=lambda name: (sum(topics[name]), name))]
        return replace(faded, good=faded.good + weight * score, bad=faded.bad + weight * (1.0 - score), topics=topics)

    def faded(self, now: float) -> Fitness:
        """The evidence as it counts at `now`; a clock that went back fades nothing."""
        keep = 0.5 ** (max(0.0, now - self.at) / HALF_LIFE_S) if self.at > 0.0 else 1.0
        return replace(_less(self, keep), at=max(now, self.at))

    def inherited(self) -> Fitness:
        """What a child starts with: its parent's mean, held lightly."""
        return Fitness(INHERITED * self.mean, INHERITED * (1.0 - self.mean), self.at)


def _less(fitness: Fitness, keep: float) -> Fitness:
    topics = {name: (good * keep, bad * keep) for name, (good, bad) in fitness.topics.items()}
    return Fitness(fitness.good * keep, fitness.bad * keep, fitness.at, topics)
