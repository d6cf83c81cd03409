"""Who dies when room is needed, and how soon an agent may divide.

The least worthy goes: fitness with the benefit of the doubt (an agent that was hardly rated may be better than it looks; without that,
the newborn would always be the ones to die and nothing would ever change), a little more for one that answers differently from the
rest, less where its family is more than half of the agents here. The elder of a family (its oldest agent here) is spared while a
younger one of it lives here and it is as fit as most, so that a line that has proved itself is not lost to its own mutations; an
elder alone is judged like anybody else.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median

from node.agents.agent import Agent

OPTIMISM = 1.0
"""Standard deviations of what is not known that count in an agent's favour."""
NOVELTY = 0.1
"""What always answering differently adds to an agent's fitness, as a share of it: being different is worth nothing without being right."""
FAMILY_SHARE = 0.5
CROWD = 0.5
"""What a family's excess over its share costs each of its members."""

Selection = Callable[[Sequence[Agent], frozenset[bytes], float], Agent | None]
"""`selection(agents of a brain, those to spare, now)` names who dies, or nobody."""


def least_fit(agents: Sequence[Agent], spare: frozenset[bytes], now: float) -> Agent | None:
    """The least worthy, the oldest of equals."""
    families = Counter(agent.family for agent in agents)
    spared = spare | _elders(agents, now)
    candidates = [agent for agent in agents if agent.agent_id not in spared]
    return min(candidates, key=lambda agent: (worth(agent, families[agent.family] / len(agents), now), *_age(agent)), default=None)


def worth(agent: Agent, share: float, now: float) -> float:
    """Fitness as it counts now with the benefit of the doubt, novelty, and the price of crowding; `share`: the family's part of the
    agents here."""
    fitness = agent.fitness.faded(now)
    hoped = fitness.mean + OPTIMISM * fitness.spread
    return hoped * (1.0 + NOVELTY * agent.novelty) - CROWD * max(0.0, share - FAMILY_SHARE)


def _elders(agents: Sequence[Agent], now: float) -> set[bytes]:
    """The oldest of each family that has younger ones here, where it is as fit as most."""
    fitness = {agent.agent_id: agent.fitness.faded(now).mean for agent in agents}
    usual = median(fitness.values()) if fitness else 0.0
    families: dict[bytes, list[Agent]] = {}
    for agent in sorted(agents, key=_age):
        families.setdefault(agent.family, []).append(agent)
    elders = [members[0].agent_id for members in families.values() if len(members) > 1]
    return {elder for elder in elders if fitness[elder] >= usual}


def threshold_of(base: int, agent: Agent, room: int, capacity: int) -> int:
    """Interactions before this agent divides: `base` while half of the node is free and nothing is known of the agent, up to four
    times that as the node fills, and half to twice that by fitness."""
    full = 1.0 - room / capacity if capacity else 1.0
    crowding = math.pow(4.0, max(0.0, 2.0 * full - 1.0))
    return max(1, math.ceil(base * crowding * math.pow(2.0, 1.0 - 2.0 * agent.fitness.mean) - 1e-9))


def _age(agent: Agent) -> tuple[float, bytes]:
    return agent.born_at, agent.agent_id
