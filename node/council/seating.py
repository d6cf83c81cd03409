"""Which agents sit on the panel.

Nodes take turns, so that all take part and none outvotes the others; within a node fit agents come first more often, but every
agent has a chance. While others could sit, a family (brains that err alike) takes at most two thirds of the seats and a node at most
half; of three nodes or more none holds more than half of the seats in any case: better a smaller panel than one that one node decides.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

from node.council.seams import Candidate
from protocol.identity import NodeId

FAMILY_SHARE, NODE_SHARE = 2 / 3, 1 / 2
MANY = 3
"""Nodes from which on the cap of a node is kept even if seats stay empty."""
UNFIT = 0.1
"""Added to every fitness: the unfittest agent still has a chance to be heard."""


def seat(candidates: Sequence[Candidate], size: int, rng: random.Random, panel: int | None = None) -> list[Candidate]:
    """At most `size` agents, the first `panel` of which sit (the rest are spares). Deterministic for equal candidates and `rng`."""
    order = _by_turns(sorted(candidates, key=lambda candidate: candidate.agent_id), rng)
    seats = panel or size
    cap, node_cap = max(1, math.ceil(FAMILY_SHARE * seats)), max(1, math.ceil(NODE_SHARE * seats))
    families: Counter[str] = Counter()
    homes: Counter[NodeId] = Counter()
    seated: list[Candidate] = []
    waiting: list[Candidate] = []
    full = len({candidate.node_id for candidate in candidates}) >= MANY
    for candidate in order:
        if families[candidate.family] < cap and homes[candidate.node_id] < node_cap:
            families[candidate.family] += 1
            homes[candidate.node_id] += 1
            seated.append(candidate)
        else:
            waiting.append(candidate)
    for candidate in waiting:
        if not full or homes[candidate.node_id] < node_cap:
            homes[candidate.node_id] += 1
            seated.append(candidate)
    return seated[:size]


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
