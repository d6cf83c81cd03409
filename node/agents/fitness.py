"""How good an agent has shown itself to be: a Beta posterior over people's ratings.

First form: one posterior over everything the agent was rated for, uniform prior, no decay. Topics, rater caps and decay come with
the living-agents release.
"""

from __future__ import annotations

from msgspec import Struct


class Fitness(Struct, frozen=True, array_like=True):
    """Evidence for and against, in whole or partial ratings."""

    good: float = 0.0
    bad: float = 0.0

    @property
    def mean(self) -> float:
        """Posterior mean under Beta(1, 1): 0.5 before the first rating, in (0, 1) always."""
        return (1.0 + self.good) / (2.0 + self.good + self.bad)

    def rated(self, score: float) -> Fitness:
        """After one more rating in [0, 1]."""
        return Fitness(self.good + score, self.bad + 1.0 - score)
