"""Which agents sit on the panel.

Nodes take turns, so that all take part and none outvotes the others; within a node fit agents come first more often, but every
agent has a chance; a family (brains that err alike) takes at most two thirds of the seats while others could sit. Later, routing
by topic will propose the order.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from node.council.seams import Candidate
from protocol.identity import NodeId

FAMILY_SHARE = 2 / 3
UNFIT = 0.1
"""Added to every fitness: the unfittest agent still has a chance to be heard."""


def seat(candidates: Sequence[Candidate], size: int, rng: random.Random, panel: int | None = None) -> list[Candidate]:
    """At most `size` agents, the first `panel` of which sit (the rest are spares). Deterministic for equal candidates and `rng`."""
    order = _by_turns(sorted(candidates, key=lambda candidate: candidate.agent_id), rng)
    cap = max(1, math.ceil(FAMILY_SHARE * (panel or size)))
    taken: dict[str, int] = {}
    seated: list[Candidate] = []
    waiting: list[Candidate] = []
    for candidate in order:
        if taken.get(candidate.family, 0) < cap:
            taken[candidate.family] = taken.get(candidate.family, 0) + 1
            seated.append(candidate)
        else:
            waiting.append(candidate)
    return (seated + waiting)[:size]


def _by_turns(candidates: Sequence[Candidate], rng: random.Random) -> list[Candidate]:
    """One agent of each node, then a second of each, and so on."""
    nodes: dict[NodeId, list[Candidate]] = {}
    for candidate in candidates:
        nodes.setdefault(candidate.node_id, []).append(candidate)
    queues = [_weighted_shuffle(nodes[node_id], rng) for node_id in sorted(nodes)]
    rng.shuffle(queues)
    rounds = max((len(queue) for queue in queues), default=0)
    return [queue[turn] for turn in range(rounds) for queue in queues if turn < len(queue)]


def _weighted_shuffle(candidates: Sequence[Candidate], rng: random.Random) -> list[Candidate]:
    """Random order in which fitter agents tend to come first (Efraimidis and Spirakis 2006)."""
    drawn = [(rng.random() ** (1.0 / (UNFIT + max(0.0, candidate.fitness))), candidate) for candidate in candidates]
    return [candidate for _, candidate in sorted(drawn, key=lambda pair: -pair[0])]
