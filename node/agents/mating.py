"""Children of two parents: who is fit enough to be asked, and from what the child starts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import median

from node.agents.agent import Agent
from node.brains.base import Brain, Genome

CROSSING = 0.25
"""Share of births for which a second parent is looked for."""
MIN_RATED = 4.0
"""Ratings, faded, that either parent has to show: of others nobody knows whether they are fit."""


def mate_for(parent: Agent, agents: Sequence[Agent], now: float, rng: random.Random) -> Agent | None:
    """The second parent, drawn from agents of the same brain here that are as fit as most, when the first is so too; None mostly.

    Agents with weights mate within their family: in others' networks the weights mean something else.
    """
    if rng.random() >= CROSSING:
        return None
    fitness = {agent.agent_id: agent.fitness.faded(now) for agent in agents}
    if parent.agent_id not in fitness:
        return None
    usual = median(one.mean for one in fitness.values())
    fit = [agent for agent in agents if (own := fitness[agent.agent_id]).mean >= usual and own.good + own.bad >= MIN_RATED]
    if parent not in fit:
        return None
    others = [agent for agent in fit if agent is not parent and (not parent.genome.tensors or agent.family == parent.family)]
    return rng.choice(sorted(others, key=lambda agent: agent.agent_id)) if others else None


def child_genome(brain: Brain, genome: Genome, other: Genome | None, rng: random.Random) -> tuple[Genome, bool]:
    """The mutated genome of a child, and whether the second parent is in it. Blocking: run it in the brain's thread."""
    both = brain.cross(genome, other, rng) if other is not None else None
    return brain.mutate(both if both is not None else genome, rng), both is not None
